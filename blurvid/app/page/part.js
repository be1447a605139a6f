/** A box on a photo: dragged by mouse or finger, or moved by keys. */

const LEAST = 32; // pixels of the photo
const STEP = 0.02; // of the photo's sides

/**
 * @param {HTMLElement} area holds the picture and the box, and is as large as the picture
 * @param {HTMLImageElement} picture
 * @param {HTMLElement} box
 * @param {(part: number[]) => void} onChange told left, top, width, height in pixels of the photo
 */
export function makePart(area, picture, box, onChange) {
  let size = [1, 1]; // of the photo
  let part = [0, 0, 1, 1]; // left, top, width, height, as parts of it

  const least = () => size.map((side) => Math.min(1, LEAST / side));
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function inside([left, top, wide, high]) {
    const [leastWide, leastHigh] = least();
    const [w, h] = [clamp(wide, leastWide, 1), clamp(high, leastHigh, 1)];
    return [clamp(left, 0, 1 - w), clamp(top, 0, 1 - h), w, h];
  }

  function place() {
    ["--left", "--top", "--wide", "--high"].forEach((name, i) => {
      area.style.setProperty(name, `${100 * part[i]}%`);
    });
  }

  function pixels() {
    const [width, height] = size;
    const [left, top] = [Math.round(part[0] * width), Math.round(part[1] * height)];
    const wide = clamp(Math.round(part[2] * width), Math.min(LEAST, width), width - left);
    return [left, top, wide, clamp(Math.round(part[3] * height), Math.min(LEAST, height), height - top)];
  }

  function set(wanted) {
    part = inside(wanted);
    place();
    const [left, top, wide, high] = pixels();
    box.setAttribute(
      "aria-label",
      `Part of ${wide} by ${high} pixels, ${left} from the left, ${top} from the top. ` +
        "Arrow keys move it, with Shift they change its size.",
    );
    onChange(pixels());
  }

  /** Where a pointer is on the picture, as parts of its sides. */
  function at(event) {
    const area = picture.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height]
      .map((value) => clamp(value, 0, 1));
  }

  function follow(event, move) {
    event.preventDefault();
    const target = event.currentTarget;
    target.setPointerCapture(event.pointerId);
    target.addEventListener("pointermove", move);
    const end = () => target.removeEventListener("pointermove", move);
    target.addEventListener("pointerup", end, { once: true });
    target.addEventListener("pointercancel", end, { once: true });
  }

  /** A box between two corners. */
  const between = ([x, y], [u, v]) => [Math.min(x, u), Math.min(y, v), Math.abs(x - u), Math.abs(y - v)];

  picture.addEventListener("pointerdown", (event) => {
    if (box.hidden || event.button) return;
    const start = at(event);
    follow(event, (moved) => set(between(start, at(moved))));
  });

  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const corner = [...box.children].indexOf(event.target);
    const [left, top, wide, high] = part;
    if (corner >= 0) {
      const fixed = [corner % 2 ? left : left + wide, corner < 2 ? top + high : top];
      follow(event, (moved) => set(between(fixed, at(moved))));
      return;
    }
    const [x, y] = at(event);
    follow(event, (moved) => {
      const [u, v] = at(moved);
      set([left + u - x, top + v - y, wide, high]);
    });
  });

  box.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const [x, y] = way[event.key] ?? [0, 0];
    if (!x && !y) return;
    event.preventDefault();
    const [left, top, wide, high] = part;
    if (event.shiftKey) set([left, top, wide + x * STEP, high + y * STEP]);
    else set([left + x * STEP, top + y * STEP, wide, high]);
  });

  return {
    /** Begin with a box in the middle. */
    show(width, height) {
      size = [width, height];
      box.hidden = false;
      set([0.3, 0.3, 0.4, 0.4]);
      box.focus();
    },
    hide() {
      box.hidden = true;
    },
    pixels,
  };
}
