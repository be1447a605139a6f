{
  const PACE = 110; // milliseconds of a frame
  const STEP = 0.05; // of a picture, by an arrow key
  const list = document.getElementById("cards");
  const cards = [...list.children]; // in the order given
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** Let a photo be compared by the pointer or the arrow keys, and play meanwhile. */
  function bring(cell) {
    const ratio = Number(cell.dataset.ratio);
    cell.parentElement.classList.toggle("filled", ratio > 1.3 && ratio < 1.9);
    const count = Number(cell.dataset.cells) - 1;
    let x = 0.5;
    let timer = 0;
    let time = Math.floor((count - 1) / 2);
    let step = 1;
    cell.style.setProperty("--cells", count + 1);
    cell.style.setProperty("--ratio", ratio);
    const show = () => cell.style.setProperty("--at", time + 1);
    const wipe = (to) => {
      x = Math.min(Math.max(to, 0), 1);
      cell.style.setProperty("--x", `${(100 * x).toFixed(1)}%`);
    };
    const begin = () => {
      if (timer || calm || count < 2) return;
      timer = setInterval(() => {
        if (time + step < 0 || time + step >= count) step = -step;
        time += step;
        show();
      }, PACE);
    };
    const end = () => {
      clearInterval(timer);
      timer = 0;
      wipe(0.5);
    };
    show();
    cell.addEventListener("pointerenter", begin);
    cell.addEventListener("pointermove", (event) => {
      const { left, width } = cell.getBoundingClientRect();
      wipe((event.clientX - left) / width);
    });
    cell.addEventListener("pointerleave", end);
    cell.addEventListener("focus", begin);
    cell.addEventListener("blur", end);
    cell.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!way) return;
      event.preventDefault();
      wipe(x + way * STEP);
    });
  }

  for (const cell of document.querySelectorAll(".window")) bring(cell);

  document.getElementById("sort").addEventListener("change", (event) => {
    const key = event.target.value;
    const value = (card) => (card.dataset[key] === "" ? -Infinity : Number(card.dataset[key]));
    const sorted = key === "name" ? cards : [...cards].sort((a, b) => value(b) - value(a));
    list.append(...sorted);
  });
}
