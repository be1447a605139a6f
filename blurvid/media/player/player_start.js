  // Controls

  const press = (id, action) => find(id).addEventListener("click", action);
  press("play", () => play(!state.playing));
  press("trust", toggleTrust);
  press("save", () => toggleDrawer(find("save")));
  press("more", () => toggleDrawer(find("more")));
  press("close", closeDrawer);
  press("full", fullScreen);
  press("fit", fit);
  press("reverse", reverse);
  press("zoom-in", () => zoomBy(ZOOM_STEP));
  press("zoom-out", () => zoomBy(1 / ZOOM_STEP));
  press("save-frame", saveFrame);
  press("save-clip", (event) => saveClip(event.currentTarget, false));
  press("save-wipe", (event) => saveClip(event.currentTarget, true));
  timeline.addEventListener("input", () => goTo(timeline.valueAsNumber - 1));
  wipe.addEventListener("input", () => wipeTo(wipe.valueAsNumber / 100));
  wipe.addEventListener("keydown", (event) => {
    // What one arrow is worth differs between browsers for a slider without steps.
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!step || event.shiftKey) return;
    event.preventDefault();
    wipeTo(state.wipe + step * 0.02);
  });
  document.addEventListener("pointermove", wake, { passive: true });
  document.addEventListener("focusin", wake);

  function choose(name, action) {
    for (const radio of document.querySelectorAll(`input[name=${name}]`)) {
      radio.addEventListener("change", () => action(radio.value));
    }
  }

  function furnish() {
    maps.forEach((map, i) => {
      const label = document.createElement("label");
      const radio = Object.assign(document.createElement("input"), {
        type: "radio", name: "map", value: i,
      });
      const name = document.createElement("span");
      name.textContent = map.dataset.name;
      label.append(radio, name);
      find("maps").append(label);
    });
    choose("map", (value) => change({ map: Number(value) }));
    choose("view", look);
    choose("mode", (mode) => change({ mode, step: 1 }));
    check("mode", state.mode);
    for (const factor of SPEEDS) {
      const fps = Number((state.fps * factor).toPrecision(3));
      find("speed").add(new Option(`${fps} fps`, fps, factor === 1, factor === 1));
    }
    find("speed").addEventListener("change", (event) => {
      change({ fps: Number(event.target.value) });
    });
    find("ticks").append(...frames.map(() => document.createElement("span")));
    find("ticks").classList.toggle("many", count > 60);
    find("views").hidden = find("save-wipe").hidden = !blurry;
    find("trust").hidden = !maps.length;
    find("full").hidden = !document.fullscreenEnabled;
    const kind = saver.kind();
    for (const id of ["save-clip", "save-wipe"]) {
      find(id).hidden ||= !kind;
      find(id).querySelector("span").textContent = `${kind?.[1] === "mp4" ? "MP4" : "WebM"} video`;
    }
    if (find("command")) {
      press("copy", copy);
      find("kind").addEventListener("change", () => change());
    }
    objects.all.forEach((_, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = i + 1;
      button.setAttribute("aria-label", `Turn object ${i + 1} around`);
      button.addEventListener("click", () => flip(i));
      for (const name of ["focus", "pointerenter"]) {
        button.addEventListener(name, () => change({ pointed: i }));
      }
      for (const name of ["blur", "pointerleave"]) {
        button.addEventListener(name, () => change({ pointed: -1 }));
      }
      find("objects").append(button);
    });
    find("objects").hidden = !objects.all.length;
  }

  // Start

  async function decode(image) {
    await image.decode();
    const pixels = image.naturalWidth * image.naturalHeight;
    const shrink = Math.min(1, Math.sqrt(COPY_PIXELS / pixels));
    const options =
      shrink < 1
        ? {
            resizeWidth: Math.max(1, Math.round(image.naturalWidth * shrink)),
            resizeHeight: Math.max(1, Math.round(image.naturalHeight * shrink)),
            resizeQuality: "high",
          }
        : {};
    bitmaps.set(image, await createImageBitmap(image, options));
  }

  /** Show a photo beyond the screen where it moves most. */
  async function open() {
    const zoom = lens.opening();
    if (zoom <= 1 || count === 1) return;
    await Promise.all([frames[0], frames[count - 1]].map(decode));
    const [wide, high] = [1 / zoom, 1 / zoom].map((part, i) =>
      Math.min(1, (part * [stage.clientWidth, stage.clientHeight][i]) /
        ([lens.width, lens.height][i] * lens.fitted())));
    const { x, y } = busiest(bitmaps.get(frames[0]), bitmaps.get(frames[count - 1]), wide, high);
    Object.assign(lens, { zoom, x, y });
  }

  async function start() {
    await decode(shown());
    await Promise.all([objects.load(), ...maps.map((map) => map.decode())]);
    furnish();
    [lens.width, lens.height] = [shown().naturalWidth, shown().naturalHeight];
    player.hidden = false;
    await open();
    glow.width = glow.height = 6;
    glow.getContext("2d").drawImage(drawable(shown()), 0, 0, glow.width, glow.height);
    find("loading").hidden = true;
    find("card").classList.add("ready");
    new ResizeObserver(() => change()).observe(stage);
    paint();

    let used = false;
    const notice = () => {
      used = true;
    };
    for (const name of ["keydown", "pointerdown", "wheel"]) {
      document.addEventListener(name, notice, { capture: true, once: true, passive: true });
    }
    for (const image of blurry ? [blurry, ...frames] : frames) {
      if (!bitmaps.has(image)) await decode(image);
    }
    refresh();
    if (calm || used || count === 1) return;
    if (blurry) look("auto");
    else play(true);
  }

  start().catch(() => root.classList.remove("scripted"));
});
