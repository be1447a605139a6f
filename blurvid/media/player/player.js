document.documentElement.classList.add("scripted"); // no flash of the page without scripts

document.addEventListener("DOMContentLoaded", () => {
  const MOST_ZOOM = 32; // screen pixels per pixel of the photo
  const PIXELATED = 2.01; // above this zoom, pixels of the photo are squares
  const ZOOM_STEP = 1.5;
  const PAN_STEP = 0.1; // of the visible part
  const CLICK = 5; // screen pixels that a pointer may move in a click
  const COPY_PIXELS = 4e6; // larger images play from copies of this size
  const MOST_NUMBERS = 15; // below the slider
  const SPEEDS = [0.25, 0.5, 1, 2];

  const find = (id) => document.getElementById(id);
  const player = find("player");
  const stage = find("stage");
  const canvas = find("canvas");
  const context = canvas.getContext("2d");
  const timeline = find("timeline");
  const wipe = find("wipe");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const frames = [...document.querySelectorAll("img.frame")];
  const blurry = document.querySelector("img.blurry"); // may be missing
  const maps = [...document.querySelectorAll("img.map")]; // what to believe; may be missing
  const objects = makeObjects([...document.querySelectorAll("img.object")]);
  const count = frames.length;
  const bitmaps = new Map(); // image -> what is drawn for it
  const details = new Map(); // image -> the same at full size, of large photos only
  const size = { width: 0, height: 0 }; // of the photo, known once an image is decoded

  const state = {
    time: Math.floor(count / 2), // 0 .. count - 1
    reversed: false,
    playing: false,
    step: 1, // +1 or -1, which way a bounce is going
    mode: player.dataset.mode,
    fps: Number(player.dataset.fps),
    comparing: blurry !== null,
    map: -1, // map that lies over the frames
    pointed: -1, // object that is pointed out
    wipe: 0.5, // part of the stage that shows the blurry photo
    zoom: 1, // times the size that fits the stage
    x: 0.5, // the middle of the view, as part of the photo
    y: 0.5,
  };

  const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
  const frameAt = (time) => frames[state.reversed ? count - 1 - time : time];
  const shown = () => frameAt(state.time);
  const opposite = () => frameAt(count - 1 - state.time); // what objects turned around show
  const timeText = () =>
    `frame ${state.time + 1} of ${count}${state.reversed ? ", time reversed" : ""}`;

  // Drawing

  /** Screen pixels per pixel of the photo when it fits the stage. */
  const fitted = () => stage.clientWidth / size.width;
  const scale = () => fitted() * state.zoom;

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
    keepInside();
    context.imageSmoothingEnabled = scale() <= PIXELATED;
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, w, h);
    drawImage(drawable(shown()), w, h);
    if (objects.flipped().length) drawImage(objects.turnedPart(drawable(opposite())), w, h);
    if (state.map >= 0) {
      context.imageSmoothingEnabled = true; // a map is coarse
      drawImage(maps[state.map], w, h);
      context.imageSmoothingEnabled = scale() <= PIXELATED;
    }
    if (state.pointed >= 0) drawImage(objects.all[state.pointed].shape, w, h);
    if (state.comparing) {
      context.save();
      context.beginPath();
      context.rect(0, 0, Math.round(w * state.wipe), h);
      context.clip();
      drawImage(drawable(blurry), w, h);
      context.restore();
    }
    label();
  }

  // Until all are ready the image itself will do: it is decoded while it is drawn.
  const drawable = (image) => details.get(image) ?? bitmaps.get(image) ?? image;

  function drawImage(image, w, h) {
    const [wide, high] = [w * state.zoom, h * state.zoom];
    context.drawImage(image, w / 2 - state.x * wide, h / 2 - state.y * high, wide, high);
  }

  /** Let no view reach beyond the photo. */
  function keepInside() {
    state.zoom = clamp(state.zoom, 1, Math.max(1, MOST_ZOOM / fitted()));
    const half = 0.5 / state.zoom;
    state.x = clamp(state.x, half, 1 - half);
    state.y = clamp(state.y, half, 1 - half);
  }

  /** Bring everything around the picture up to date with the state. */
  function label() {
    const zoomed = state.zoom > 1;
    canvas.setAttribute("aria-label", `The photo, ${timeText()}`);
    timeline.value = state.time + 1;
    timeline.setAttribute("aria-valuetext", timeText());
    find("tag-frame").textContent = timeText();
    find("divider").hidden = wipe.hidden = !state.comparing;
    sideFits("tag-blurry", state.comparing ? state.wipe : 0);
    sideFits("tag-frame", state.comparing ? 1 - state.wipe : 1);
    [...find("ticks").children].forEach((tick, i) => {
      tick.classList.toggle("now", i === state.time);
    });
    const percent = Math.round(state.wipe * 100);
    stage.style.setProperty("--wipe", `${state.wipe * 100}%`);
    wipe.value = state.wipe * 100;
    wipe.setAttribute("aria-valuetext", `${percent} percent, from the left`);
    stage.classList.toggle("zoomed", zoomed);
    find("percent").textContent = `${Math.round(scale() * 100)} %`;
    find("play").classList.toggle("playing", state.playing);
    find("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    find("reverse").setAttribute("aria-pressed", state.reversed);
    const map = maps[state.map];
    find("trust").setAttribute("aria-pressed", Boolean(map));
    find("tag-map").hidden = !map;
    if (map) find("tag-map").textContent = `${map.dataset.name}, 0 to ${map.dataset.full} of 255`;
    find("compare").setAttribute("aria-pressed", state.comparing);
    [...find("objects").querySelectorAll("button")].forEach((button, i) => {
      button.setAttribute("aria-pressed", objects.all[i].flipped);
    });
    if (find("command")) find("command").textContent = command();
  }

  /** Show what one side of the edge is called where there is room for it. */
  function sideFits(id, part) {
    const tag = find(id);
    tag.classList.toggle("squeezed", part * stage.clientWidth < tag.offsetWidth + 12);
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
    const near = scale() * (window.devicePixelRatio || 1) * size.width > copy.width;
    const wanted = new Set();
    if (near && copy.width < size.width && !state.playing) {
      wanted.add(shown());
      if (objects.flipped().length) wanted.add(opposite());
      if (state.comparing) wanted.add(blurry);
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

  function change(update) {
    Object.assign(state, update);
    refresh();
    if (size.width * size.height > COPY_PIXELS) settle();
  }

  // Time

  function goTo(time) {
    change({ time: clamp(time, 0, count - 1), playing: false });
    // The slider tells its own value while it has the focus.
    if (document.activeElement !== timeline) tell(timeText());
  }

  let last = 0;
  function play(on) {
    if (on && state.mode === "once" && state.time === count - 1) state.time = 0;
    change({ playing: on });
    tell(on ? "playing" : `paused at ${timeText()}`);
    last = performance.now();
    if (on) requestAnimationFrame(tick);
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

  // Objects

  function flip(number) {
    objects.toggle(number);
    change({ pointed: -1 }); // it is not in the way of what it shows now
    tell(`object ${number + 1} ${objects.all[number].flipped ? "turned around" : "as it was"}`);
  }

  /** Lay the next map over the frames, after the last one none. */
  function nextMap() {
    change({ map: state.map + 1 < maps.length ? state.map + 1 : -1 });
    tell(state.map >= 0 ? maps[state.map].dataset.name : "no map");
  }

  /** What the photo shows at a place of the stage, as parts of the photo. */
  const under = ({ x, y }) => [
    state.x + (x - 0.5) / state.zoom,
    state.y + (y - 0.5) / state.zoom,
  ];

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

  // Zoom

  /** Zoom by a factor; what lies under a point of the stage (0 .. 1) stays there. */
  function zoomBy(factor, atX = 0.5, atY = 0.5) {
    const zoom = clamp(state.zoom * factor, 1, Math.max(1, MOST_ZOOM / fitted()));
    const shift = 1 / state.zoom - 1 / zoom;
    change({ zoom, x: state.x + (atX - 0.5) * shift, y: state.y + (atY - 0.5) * shift });
  }

  /** Move the view by parts of what is visible. */
  function panBy(x, y) {
    change({ x: state.x + x / state.zoom, y: state.y + y / state.zoom });
    keepInside(); // so that the next move starts from where the view really is
  }

  const fit = () => change({ zoom: 1, x: 0.5, y: 0.5 });

  // Mouse and touch

  const pointers = new Map();
  let scrubbed = null; // {x, time} where a drag through time began
  let pressed = null; // where a click may have begun, in pixels of the page

  /** Where a pointer is, as parts of the stage. */
  function place(event) {
    const box = stage.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
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
    if (event.target === wipe || event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    pressed = pointers.size ? null : [event.clientX, event.clientY];
    pointers.set(event.pointerId, place(event));
    scrubbed = pointers.size === 1 ? { x: place(event).x, time: state.time } : null;
    stage.classList.toggle("dragged", state.zoom > 1);
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const now = place(event);
    if (!before) {
      stage.classList.toggle("pointed", objects.at(...under(now)) >= 0);
      return;
    }
    const [x, y] = pressed ?? [0, 0];
    if (Math.hypot(event.clientX - x, event.clientY - y) > CLICK) pressed = null;
    if (pointers.size === 2) {
      const from = spread();
      pointers.set(event.pointerId, now);
      const to = spread();
      zoomBy(to.far / Math.max(from.far, 1), to.x, to.y);
      panBy(from.x - to.x, from.y - to.y);
      return;
    }
    pointers.set(event.pointerId, now);
    if (state.zoom > 1) {
      panBy(before.x - now.x, before.y - now.y);
    } else if (scrubbed) {
      const time = scrubbed.time + Math.round((now.x - scrubbed.x) * count);
      if (time !== state.time || state.playing) goTo(time);
    }
  });

  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      const clicked = pressed && name === "pointerup" ? objects.at(...under(place(event))) : -1;
      if (clicked >= 0) flip(clicked);
      scrubbed = pressed = null;
      stage.classList.remove("dragged");
    });
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
    t: () => maps.length && nextMap(),
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

  timeline.addEventListener("input", () => goTo(timeline.valueAsNumber - 1));
  wipe.addEventListener("input", () => change({ wipe: wipe.valueAsNumber / 100 }));
  wipe.addEventListener("keydown", (event) => {
    // What one arrow is worth differs between browsers for a slider without steps.
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!step || event.shiftKey) return;
    event.preventDefault();
    change({ wipe: clamp(state.wipe + step * 0.02, 0, 1) });
  });
  find("play").addEventListener("click", () => play(!state.playing));
  find("reverse").addEventListener("click", reverse);
  find("compare").addEventListener("click", () => change({ comparing: !state.comparing }));
  find("zoom-in").addEventListener("click", () => zoomBy(ZOOM_STEP));
  find("zoom-out").addEventListener("click", () => zoomBy(1 / ZOOM_STEP));
  find("fit").addEventListener("click", fit);
  for (const radio of document.querySelectorAll("input[name=mode]")) {
    radio.checked = radio.value === state.mode;
    radio.addEventListener("change", () => change({ mode: radio.value, step: 1 }));
  }
  for (const factor of SPEEDS) {
    const fps = Number((state.fps * factor).toPrecision(3));
    find("speed").add(new Option(`${fps} fps`, fps, factor === 1, factor === 1));
  }
  find("speed").addEventListener("change", (event) => {
    change({ fps: Number(event.target.value) });
  });
  for (let number = 1; number <= count; number += 1) {
    const tick = document.createElement("span");
    if ((number - 1) % Math.ceil(count / MOST_NUMBERS) === 0) tick.textContent = number;
    find("ticks").append(tick);
  }
  find("compare").hidden = !blurry;
  find("trust").hidden = !maps.length;
  find("trust").addEventListener("click", nextMap);
  if (find("command")) {
    find("copy").addEventListener("click", copy);
    find("kind").addEventListener("change", () => change({}));
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

  async function start() {
    await decode(shown());
    await Promise.all([objects.load(), ...maps.map((map) => map.decode())]);
    objects.all.forEach((object, i) => {
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
    size.width = shown().naturalWidth;
    size.height = shown().naturalHeight;
    player.style.setProperty("--aspect", size.width / size.height);
    player.style.setProperty("--natural-height", size.height);
    find("loading").hidden = true;
    player.hidden = false;
    new ResizeObserver(() => change({})).observe(stage);
    label();

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
    if (!calm && !used && count > 1) play(true);
  }

  start().catch(() => document.documentElement.classList.remove("scripted"));
});
