"use strict";

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

/**
 * Which part of the photo the stage shows, and how large.
 *
 * `x` and `y` are the middle of the view as parts of the photo, `zoom` is times the size at which
 * the photo just fits. Where the stage is larger than the photo the photo is in its middle.
 */
function makeLens(stage) {
  const MOST_ZOOM = 32; // screen pixels per pixel of the photo
  const CLOSE = 2.5; // times the whole picture, where its pixels are large already
  const BEYOND = 1.33; // pixels of the photo per pixel of the screen
  const lens = { width: 1, height: 1, zoom: 1, x: 0.5, y: 0.5 };

  /** Screen pixels per pixel of the photo when all of it is seen. */
  const fitted = () =>
    Math.min(stage.clientWidth / lens.width, stage.clientHeight / lens.height);
  const scale = () => fitted() * lens.zoom;
  const mostZoom = () => Math.max(1, MOST_ZOOM / fitted());

  /** Size of the photo, in sizes of the stage. */
  const span = (zoom = lens.zoom) => [
    (lens.width * fitted() * zoom) / stage.clientWidth,
    (lens.height * fitted() * zoom) / stage.clientHeight,
  ];

  /** The photo's place, in sizes of the stage; it may reach beyond. */
  function photo() {
    const [wide, high] = span();
    return { left: 0.5 - lens.x * wide, top: 0.5 - lens.y * high, wide, high };
  }

  /** The part of the stage that shows the photo. */
  function seen() {
    const { left, top, wide, high } = photo();
    const [l, t] = [Math.max(0, left), Math.max(0, top)];
    return { left: l, top: t, wide: Math.min(1, left + wide) - l, high: Math.min(1, top + high) - t };
  }

  /** Let no view reach beyond the photo. */
  function keepInside() {
    lens.zoom = clamp(lens.zoom, 1, mostZoom());
    const [x, y] = span().map((side) => Math.min(0.5, 0.5 / side));
    lens.x = clamp(lens.x, x, 1 - x);
    lens.y = clamp(lens.y, y, 1 - y);
  }

  /** Zoom to a size; what lies under a point of the stage (0 .. 1) stays there. */
  function zoomTo(zoom, atX = 0.5, atY = 0.5) {
    const before = span();
    const after = span((lens.zoom = clamp(zoom, 1, mostZoom())));
    lens.x += (atX - 0.5) * (1 / before[0] - 1 / after[0]);
    lens.y += (atY - 0.5) * (1 / before[1] - 1 / after[1]);
    keepInside();
  }

  /** Move the view by parts of the stage. */
  function pan(x, y) {
    const [wide, high] = span();
    lens.x += x / wide;
    lens.y += y / high;
    keepInside();
  }

  /** What the photo shows at a place of the stage, as parts of the photo. */
  function under({ x, y }) {
    const [wide, high] = span();
    return [lens.x + (x - 0.5) / wide, lens.y + (y - 0.5) / high];
  }

  /** How near a double click goes: to the photo's pixels, or a good deal nearer. */
  const near = () => clamp(Math.max(CLOSE, 1 / fitted()), 1, mostZoom());

  /** How near a photo beyond the screen is shown at first: between a full stage and pixels. */
  function opening() {
    const pixels = 1 / (fitted() * (window.devicePixelRatio || 1));
    if (pixels < BEYOND) return 1;
    const full = Math.max(...span(1).map((side) => 1 / side));
    return Math.max(full, Math.sqrt(full * pixels));
  }

  return Object.assign(lens, {
    fitted, scale, photo, seen, keepInside, zoomTo, pan, under, near, opening,
  });
}

/**
 * Where the photo moves most, as parts of the photo: the middle of what moves in a box.
 *
 * `wide` and `high` are the part's size; `first` and `last` what the ends of time show.
 */
function busiest(first, last, wide, high) {
  const SIDE = 96; // motion is looked for at this size
  const [a, b] = [first, last].map((image) => {
    const context = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, SIDE, SIDE);
    return context.getImageData(0, 0, SIDE, SIDE).data;
  });
  const [w, h] = [wide, high].map((part) => clamp(Math.round(part * SIDE), 1, SIDE));
  // Sums over rectangles from the corner give those over all boxes.
  const moved = new Float64Array(SIDE * SIDE);
  const sums = new Float64Array((SIDE + 1) * (SIDE + 1));
  const at = (column, row) => row * (SIDE + 1) + column;
  for (let row = 0; row < SIDE; row += 1) {
    for (let column = 0; column < SIDE; column += 1) {
      const i = 4 * (row * SIDE + column);
      const far =
        Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2]);
      moved[row * SIDE + column] = far;
      sums[at(column + 1, row + 1)] =
        far + sums[at(column, row + 1)] + sums[at(column + 1, row)] - sums[at(column, row)];
    }
  }
  let best = { sum: 0 };
  for (let row = 0; row + h <= SIDE; row += 1) {
    for (let column = 0; column + w <= SIDE; column += 1) {
      const sum =
        sums[at(column + w, row + h)] - sums[at(column, row + h)] -
        sums[at(column + w, row)] + sums[at(column, row)];
      if (sum > best.sum) best = { sum, column, row };
    }
  }
  if (!best.sum) return { x: 0.5, y: 0.5 };
  let [x, y] = [0, 0];
  for (let row = best.row; row < best.row + h; row += 1) {
    for (let column = best.column; column < best.column + w; column += 1) {
      x += moved[row * SIDE + column] * (column + 0.5);
      y += moved[row * SIDE + column] * (row + 0.5);
    }
  }
  return { x: x / best.sum / SIDE, y: y / best.sum / SIDE };
}
