document.documentElement.classList.add("scripted"); // no flash of the page without scripts

document.addEventListener("DOMContentLoaded", () => {
  const PIXELATED = 4; // from so many screen pixels on, pixels of the photo are squares
  const ZOOM_STEP = 1.5;
  const PAN_STEP = 0.1; // of the stage
  const CLICK = 5; // screen pixels that a pointer may move in a click
  const REACH = 24; // screen pixels from the edge at which it can be taken
  const COPY_PIXELS = 4e6; // larger images play from copies of this size
  const SPEEDS = [0.25, 0.5, 1, 2];
  const ROUND = 5; // seconds that an edge takes which moves by itself
  const REST = 2600; // milliseconds until what lies over the picture fades
  const VEIL = 0.85; // how much a map hides
  const GLOW = 0.4; // how much of a photo's colours is around it
  const VIEWS = ["sharp", "wipe", "auto"];

  const find = (id) => document.getElementById(id);
  const root = document.documentElement;
  const player = find("player");
  const stage = find("stage");
  const canvas = find("canvas");
  const context = canvas.getContext("2d");
  const timeline = find("timeline");
  const wipe = find("wipe");
  const drawer = find("drawer");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const mouse = matchMedia("(hover: hover)").matches;

  const frames = [...document.querySelectorAll("img.frame")];
  const blurry = document.querySelector("img.blurry"); // may be missing
  const maps = [...document.querySelectorAll("img.map")]; // what to believe; may be missing
  const objects = makeObjects([...document.querySelectorAll("img.object")]);
  const lens = makeLens(stage);
  const count = frames.length;
  const glow = document.createElement("canvas");
  const bitmaps = new Map(); // image -> what is drawn for it
  const details = new Map(); // image -> the same at full size, of large photos only

  const state = {
    time: Math.floor(count / 2), // 0 .. count - 1
    reversed: false,
    playing: false,
    step: 1, // +1 or -1, which way a bounce is going
    mode: player.dataset.mode,
    fps: Number(player.dataset.fps),
    view: blurry ? "wipe" : "sharp",
    trust: false, // whether a map lies over the frames
    map: 0, // which
    pointed: -1, // object that is pointed out
    wipe: 0.5, // part of the visible picture that shows the blurry photo
    at: 0, // seconds of the round of an edge that moves by itself
  };

  const comparing = () => state.view !== "sharp";
  const frameAt = (time) => frames[state.reversed ? count - 1 - time : time];
  const shown = () => frameAt(state.time);
  const opposite = () => frameAt(count - 1 - state.time); // what objects turned around show
  const timeText = () =>
    `frame ${state.time + 1} of ${count}${state.reversed ? ", time reversed" : ""}`;

  // Drawing

  let waiting = 0;
  function refresh() {
    if (!waiting) waiting = requestAnimationFrame(paint);
  }

  function paint() {
    waiting = 0;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [stage.clientWidth, stage.clientHeight].map((side) => Math.ceil(side * ratio));
    if (!w || !h) return;
    if (canvas.width !== w || canvas.height !== h) {
      // A pixel of the canvas is a pixel of the screen, whatever fraction the layout gives.
      canvas.width = w;
      canvas.height = h;
      canvas.style.width = `${w / ratio}px`;
      canvas.style.height = `${h / ratio}px`;
    }
    lens.keepInside();
    const { left, top, wide, high } = lens.photo();
    const place = [left * w, top * h, wide * w, high * h];
    const smooth = lens.zoom <= 1 || lens.scale() < PIXELATED;
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, w, h);
    if (wide < 1 || high < 1) surround(w, h);
    compose(context, place, drawable, state.time);
    if (state.trust) {
      context.imageSmoothingEnabled = true; // a map is coarse
      context.globalAlpha = VEIL;
      context.drawImage(maps[state.map], ...place);
      context.globalAlpha = 1;
      context.imageSmoothingEnabled = smooth;
    }
    if (state.pointed >= 0) context.drawImage(objects.all[state.pointed].shape, ...place);
    const seen = lens.seen();
    const edge = Math.round((seen.left + seen.wide * state.wipe) * w);
    if (comparing()) lay(context, place, drawable(blurry), edge);
    label(seen);
  }

  // Until all are ready the image itself will do: it is decoded while it is drawn.
  const drawable = (image) => details.get(image) ?? bitmaps.get(image) ?? image;

  /** Fill what the photo leaves free with a glow of its colours. */
  function surround(w, h) {
    const [wide, high] = [lens.width, lens.height].map(
      (side) => side * Math.max(w / lens.width, h / lens.height),
    );
    context.globalAlpha = GLOW;
    context.drawImage(glow, (w - wide) / 2, (h - high) / 2, wide, high);
    context.globalAlpha = 1;
  }

  /** Draw what a time shows, objects turned around included. */
  function compose(target, place, source, time) {
    target.drawImage(source(frameAt(time)), ...place);
    if (objects.flipped().length) {
      target.drawImage(objects.turnedPart(source(frameAt(count - 1 - time))), ...place);
    }
  }

  /** Lay the blurry photo over what is left of an edge. */
  function lay(target, place, image, edge) {
    target.save();
    target.beginPath();
    target.rect(0, 0, edge, target.canvas.height);
    target.clip();
    target.drawImage(image, ...place);
    target.restore();
  }

  /** Bring everything around the picture up to date with the state. */
  function label(seen) {
    canvas.setAttribute("aria-label", `The photo, ${timeText()}`);
    timeline.value = state.time + 1;
    timeline.setAttribute("aria-valuetext", timeText());
    find("now").textContent = `${state.time + 1} / ${count}`;
    [...find("ticks").children].forEach((tick, i) => {
      tick.classList.toggle("now", i === state.time);
    });
    const { style } = find("view");
    [style.left, style.top] = [`${seen.left * 100}%`, `${seen.top * 100}%`];
    [style.width, style.height] = [`${seen.wide * 100}%`, `${seen.high * 100}%`];
    find("view").style.setProperty("--wipe", `${state.wipe * 100}%`);
    find("view").hidden = !comparing();
    find("view").classList.toggle("ended", state.view === "auto" && [0, 1].includes(state.wipe));
    const width = seen.wide * stage.clientWidth;
    for (const [tag, part] of [["blurry", state.wipe], ["frame", 1 - state.wipe]]) {
      const element = document.querySelector(`.tag-${tag}`);
      element.classList.toggle("squeezed", part * width < element.offsetWidth + 36);
    }
    wipe.value = state.wipe * 100;
    wipe.setAttribute("aria-valuetext", `${Math.round(state.wipe * 100)} percent, from the left`);
    stage.classList.toggle("zoomed", lens.zoom > 1);
    stage.classList.toggle("plain", count === 1 && !comparing());
    find("fit").hidden = lens.zoom <= 1;
    find("percent").textContent = `${Math.round(lens.scale() * 100)} %`;
    find("play").classList.toggle("playing", state.playing);
    find("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    find("reverse").setAttribute("aria-pressed", state.reversed);
    find("trust").setAttribute("aria-pressed", state.trust);
    find("legend").hidden = !state.trust;
    if (state.trust) {
      find("legend-text").textContent = maps[state.map].dataset.text;
      find("legend-full").textContent = `${maps[state.map].dataset.full} of 255`;
    }
    check("view", state.view);
    check("map", state.map);
    [...find("objects").querySelectorAll("button")].forEach((button, i) => {
      button.setAttribute("aria-pressed", objects.all[i].flipped);
    });
    if (find("command")) find("command").textContent = command();
  }

  function check(name, value) {
    const radio = document.querySelector(`input[name=${name}][value="${value}"]`);
    if (radio) radio.checked = true;
  }

  /** Tell screen readers, which should not be told every frame of a running clip. */
  function tell(text) {
    find("status").textContent = text;
  }

  // Large photos: playing needs all frames decoded, which at full size would take hundreds of
  // megabytes. So smaller copies are played, and where the view stands still and comes so near
  // that it matters, the images on display are decoded at full size.

  let settling = 0;
  function settle() {
    clearTimeout(settling);
    settling = setTimeout(sharpen, 200);
  }

  async function sharpen() {
    const copy = bitmaps.get(shown());
    if (!copy) return;
    const near = lens.scale() * (window.devicePixelRatio || 1) * lens.width > copy.width;
    const wanted = new Set();
    if (near && copy.width < lens.width && !state.playing) {
      wanted.add(shown());
      if (objects.flipped().length) wanted.add(opposite());
      if (comparing()) wanted.add(blurry);
    }
    for (const [image, bitmap] of details) {
      if (!wanted.has(image)) {
        details.delete(image);
        bitmap.close();
      }
    }
    for (const image of wanted) {
      if (!details.has(image)) details.set(image, await createImageBitmap(image));
    }
    refresh();
  }

  function change(update = {}) {
    Object.assign(state, update);
    refresh();
    if (lens.width * lens.height > COPY_PIXELS) settle();
  }

  // Time

  function goTo(time) {
    change({ time: clamp(time, 0, count - 1), playing: false });
    wake();
    // The slider tells its own value while it has the focus.
    if (document.activeElement !== timeline) tell(timeText());
  }

  let last = 0; // when the frame on display was due
  let turned = 0; // when the edge was moved
  function play(on) {
    if (on && state.mode === "once" && state.time === count - 1) state.time = 0;
    const running = state.playing;
    change({ playing: on });
    tell(on ? "playing" : `paused at ${timeText()}`);
    wake();
    last = turned = performance.now();
    if (on && !running) requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!state.playing) return;
    const period = 1000 / state.fps;
    // After a pause of the browser (a hidden tab) one frame is enough.
    if (now - last > 10 * period) last = now - period;
    while (state.playing && now - last >= period) {
      last += period;
      advance();
    }
    if (state.view === "auto" && !dragged) {
      const at = state.at + Math.min(0.1, Math.max(0, now - turned) / 1000);
      change({ at: at % ROUND, wipe: edgeAt((at % ROUND) / ROUND) });
    }
    turned = now;
    if (state.playing) requestAnimationFrame(tick);
  }

  function advance() {
    if (count === 1) return;
    const end = state.time === count - 1;
    if (state.mode === "bounce") {
      if (end) state.step = -1;
      if (state.time === 0) state.step = 1;
      change({ time: state.time + state.step });
    } else if (state.mode === "loop") {
      change({ time: end ? 0 : state.time + 1 });
    } else if (end) {
      play(false);
    } else {
      change({ time: state.time + 1 });
    }
  }

  /** Turn time around; the frame on display stays. */
  function reverse() {
    change({ reversed: !state.reversed, time: count - 1 - state.time });
    tell(timeText());
  }

  // What is shown

  function look(view) {
    if (!blurry) return;
    // A round begins with the photo; an edge taken by hand is in the middle, where it is seen.
    change({ view, at: 0, ...(view === "auto" ? {} : { wipe: 0.5 }) });
    tell({ sharp: "sharp frames only", wipe: "wipe by hand", auto: "wipe by itself" }[view]);
    if (view === "auto" && !state.playing) play(true);
  }

  /** Move the edge by hand: it stays there. */
  const wipeTo = (part) => change({ view: "wipe", wipe: clamp(part, 0, 1) });

  function flip(number) {
    objects.toggle(number);
    change({ pointed: -1 }); // it is not in the way of what it shows now
    tell(`object ${number + 1} ${objects.all[number].flipped ? "turned around" : "as it was"}`);
  }

  function toggleTrust() {
    if (!maps.length) return;
    change({ trust: !state.trust });
    tell(state.trust ? `trust: ${maps[state.map].dataset.name}` : "trust off");
  }

  /** Zoom by a factor; what lies under a point of the stage (0 .. 1) stays there. */
  function zoomBy(factor, atX, atY) {
    lens.zoomTo(lens.zoom * factor, atX, atY);
    change();
  }

  function panBy(x, y) {
    lens.pan(x, y);
    change();
  }

  /** Go to a zoom around a point of the stage, in a moment unless movement is unwelcome. */
  function glide(zoom, at = { x: 0.5, y: 0.5 }) {
    const from = lens.zoom;
    const begin = performance.now();
    const duration = calm ? 0 : 260;
    (function go(now) {
      const part = duration ? clamp((now - begin) / duration, 0, 1) : 1;
      lens.zoomTo(from * (zoom / from) ** (part * (2 - part)), at.x, at.y);
      change();
      if (part < 1) requestAnimationFrame(go);
    })(begin);
  }

  function fit() {
    glide(1);
    tell("whole picture");
  }

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

  // Mouse and touch

  const pointers = new Map();
  let dragged = null; // what a drag moves: "edge", "time" or "view"
  let begun = null; // where it began: {x, time, wipe}
  let pressed = null; // where a click may have begun: {x, y, idle}, in pixels of the page
  let clicked = { x: 0, y: 0, when: -1e9 }; // the click before

  /** Where a pointer is, as parts of the stage. */
  const place = (event) => ({
    x: event.clientX / stage.clientWidth,
    y: event.clientY / stage.clientHeight,
  });

  /** Whether a pointer could take the edge. */
  function atEdge(x) {
    const { left, wide } = lens.seen();
    return comparing() && Math.abs(x - left - wide * state.wipe) * stage.clientWidth < REACH;
  }

  function spread() {
    const [a, b] = [...pointers.values()];
    return {
      x: (a.x + b.x) / 2,
      y: (a.y + b.y) / 2,
      far: Math.hypot((a.x - b.x) * stage.clientWidth, (a.y - b.y) * stage.clientHeight),
    };
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!drawer.inert) return closeDrawer();
    const idle = root.classList.contains("idle");
    wake();
    stage.setPointerCapture(event.pointerId);
    const { x } = place(event);
    pressed = pointers.size ? null : { x: event.clientX, y: event.clientY, idle };
    pointers.set(event.pointerId, place(event));
    begun = { x, time: state.time, wipe: state.wipe };
    if (pointers.size > 1) dragged = "view";
    else if (atEdge(x)) dragged = "edge";
    else if (lens.zoom > 1) dragged = "view";
    else dragged = comparing() ? "edge" : "time";
    stage.classList.toggle("dragged", dragged === "view");
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const now = place(event);
    if (!before) {
      stage.classList.toggle("edge", atEdge(now.x));
      stage.classList.toggle("pointed", objects.at(...lens.under(now)) >= 0 && !atEdge(now.x));
      return;
    }
    if (pointers.size === 2) {
      const from = spread();
      pointers.set(event.pointerId, now);
      const to = spread();
      pressed = null;
      lens.zoomTo(lens.zoom * (to.far / Math.max(from.far, 1)), to.x, to.y);
      panBy(from.x - to.x, from.y - to.y);
      return;
    }
    pointers.set(event.pointerId, now);
    if (pressed && Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > CLICK) {
      pressed = null;
    }
    const { wide } = lens.seen();
    if (pressed) return;
    if (dragged === "view") panBy(before.x - now.x, before.y - now.y);
    else if (dragged === "edge") wipeTo(begun.wipe + (now.x - begun.x) / wide);
    else if (dragged === "time") {
      const time = begun.time + Math.round(((now.x - begun.x) / wide) * count);
      if (time !== state.time || state.playing) goTo(time);
    }
  });

  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (pressed && name === "pointerup") click(event);
      pressed = null;
      dragged = pointers.size ? "view" : null; // one finger of two is left
      stage.classList.remove("dragged");
    });
  }

  /** A click turns an object around, or plays; a second one soon goes near, or to the whole. */
  function click(event) {
    const { clientX: x, clientY: y, timeStamp: when } = event;
    const again = when - clicked.when < 350 && Math.hypot(x - clicked.x, y - clicked.y) < 30;
    clicked = { x, y, when: again ? -1e9 : when };
    const object = objects.at(...lens.under(place(event)));
    if (object >= 0) flip(object);
    else if (event.pointerType === "mouse") play(!state.playing);
    else if (!pressed.idle && state.playing) root.classList.add("idle");
    if (again) glide(lens.zoom > 1 ? 1 : lens.near(), place(event));
  }

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      // Lines and pages count as pixels; pinching a touchpad comes as a wheel with Ctrl.
      const amount = event.deltaY * [1, 16, 400][event.deltaMode];
      const at = place(event);
      zoomBy(Math.exp(-amount * (event.ctrlKey ? 0.01 : 0.002)), at.x, at.y);
    },
    { passive: false },
  );

  // Keyboard

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const KEYS = {
    "+": () => zoomBy(ZOOM_STEP),
    "=": () => zoomBy(ZOOM_STEP), // + without Shift on many keyboards
    "-": () => zoomBy(1 / ZOOM_STEP),
    "0": fit,
    c: () => look(VIEWS[(VIEWS.indexOf(state.view) + 1) % VIEWS.length]),
    f: fullScreen,
    m: () => toggleDrawer(find("more")),
    r: reverse,
    s: () => toggleDrawer(find("save")),
    t: toggleTrust,
    Escape: closeDrawer,
  };
  const TIME_KEYS = {
    " ": () => play(!state.playing),
    ArrowLeft: () => goTo(state.time - 1),
    ArrowRight: () => goTo(state.time + 1),
    Home: () => goTo(0),
    End: () => goTo(count - 1),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    wake();
    const own = event.target.closest("select, input, button, summary");
    const moves = own?.matches("select, input"); // it has its own use for arrows
    let action = own?.matches("select") ? undefined : KEYS[event.key];
    if (event.shiftKey && event.key in ARROWS && !moves) {
      const [x, y] = ARROWS[event.key];
      action = () => panBy(x * PAN_STEP, y * PAN_STEP);
    } else if (!event.shiftKey && event.key in TIME_KEYS) {
      const free = event.key === " " ? !own || own.matches("[type=range]") : !moves;
      if (free) action = TIME_KEYS[event.key];
    }
    if (action) {
      event.preventDefault();
      action();
    }
  });

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
