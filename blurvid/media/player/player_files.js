  // Files

  const stem = () => document.title.replace(/\.\w+$/, "") || "photo";

  function saveFrame() {
    const full = new OffscreenCanvas(lens.width, lens.height);
    const box = [0, 0, lens.width, lens.height];
    compose(full.getContext("2d"), box, (image) => image, state.time);
    const name = `${stem()}_${state.time + 1}.png`;
    return full.convertToBlob().then((blob) => saver.give(blob, name));
  }

  /** Record the frames in the order in which they play, about five seconds of them. */
  async function saveClip(button, wiping) {
    const order = [...Array(count).keys()];
    if (state.mode === "bounce") order.push(...order.slice(1, -1).reverse());
    const { fps } = state;
    const round = order.length / fps;
    const seconds = round * Math.max(1, Math.round(ROUND / round));
    const draw = (target, w, h, at) => {
      compose(target, [0, 0, w, h], drawable, order[Math.floor(at * fps) % order.length]);
      if (!wiping) return;
      const edge = Math.round(w * edgeAt(at / seconds));
      lay(target, [0, 0, w, h], drawable(blurry), edge);
      target.fillStyle = "#fff";
      if (edge > 0 && edge < w) target.fillRect(edge - Math.ceil(w / 600), 0, Math.ceil(w / 300), h);
    };
    const done = (part) => button.style.setProperty("--done", `${part * 100}%`);
    const kind = saver.kind();
    button.disabled = true;
    tell("recording");
    try {
      const sides = saver.sides(lens.width, lens.height);
      const blob = await saver.record(kind, sides, seconds, draw, done);
      saver.give(blob, `${stem()}${wiping ? "_wipe" : ""}.${kind[1]}`);
      tell("saved");
    } catch (error) {
      tell(`not saved: ${error.message}`);
    }
    done(0);
    button.disabled = false;
  }

  /** How to get what is shown as a file. */
  function command() {
    const words = [player.dataset.command];
    words.push(...objects.flipped().map((at) => `--flip ${at}`));
    if (state.reversed !== (player.dataset.reversed === "true")) words.push("--reverse");
    if (state.mode !== "bounce") words.push("--once");
    words.push(`--fps ${state.fps}`, `-o ${find("kind").value}`);
    return words.join(" ");
  }

  async function copy() {
    const selection = getSelection();
    selection.selectAllChildren(find("command"));
    try {
      await navigator.clipboard.writeText(find("command").textContent);
    } catch {
      document.execCommand("copy"); // where pages from files may not use the clipboard
    }
    tell("command copied");
  }

  // What lies over the picture: it fades while a clip plays and nobody asks for anything

  let resting = 0;
  function wake() {
    root.classList.remove("idle");
    clearTimeout(resting);
    resting = setTimeout(rest, REST);
  }

  function rest() {
    const used =
      !drawer.inert ||
      state.trust || // colours without their legend say nothing
      document.querySelector(".hud :focus-visible, .wipe:focus-visible") ||
      (mouse && document.querySelector(".hud:hover"));
    if (state.playing && !calm && !dragged && !used) root.classList.add("idle");
  }

  let opener = null; // what opened the drawer
  function toggleDrawer(button) {
    const open = drawer.inert || opener !== button;
    if (open && !drawer.inert) find(opener.id).setAttribute("aria-expanded", false);
    drawer.inert = !open;
    button.setAttribute("aria-expanded", open);
    if (open) {
      opener = button;
      drawer.scrollTop = 0;
      if (button.id === "more") drawer.scrollTop = find("about-time").offsetTop - 16;
      find("close").focus({ preventScroll: true });
    } else {
      button.focus();
    }
    wake();
  }

  const closeDrawer = () => drawer.inert || toggleDrawer(opener);

  function fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else root.requestFullscreen?.().catch(() => {}); // a browser may refuse
  }

