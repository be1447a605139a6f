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

