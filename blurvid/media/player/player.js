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

