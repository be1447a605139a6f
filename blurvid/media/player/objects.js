"use strict";

/**
 * Things in the photo that move on their own, each of which can be turned around in time.
 *
 * Each is an image.object: its grey is the share of a pixel that is turned, `data-at` a point in
 * it for the command line.
 */
function makeObjects(images) {
  const all = []; // {at, width, height, shares, shape, flipped}
  const mask = document.createElement("canvas"); // opaque where time is turned around
  const mixed = document.createElement("canvas");

  async function load() {
    for (const image of images) {
      await image.decode();
      const [width, height] = [image.naturalWidth, image.naturalHeight];
      const canvas = new OffscreenCanvas(width, height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const shares = context.getImageData(0, 0, width, height).data.filter((_, i) => i % 4 === 0);
      const shape = shapeOf(context, width, height, shares);
      all.push({ at: image.dataset.at, width, height, shares, shape, flipped: false });
    }
  }

  /** A bright veil over an object, to point it out. */
  function shapeOf(context, width, height, shares) {
    const pixels = context.createImageData(width, height);
    shares.forEach((share, i) => pixels.data.set([255, 220, 60, share / 2], 4 * i));
    context.putImageData(pixels, 0, 0);
    return context.canvas;
  }

  /** Turn one object around, and bring the mask up to date. */
  function toggle(number) {
    all[number].flipped = !all[number].flipped;
    const { width, height } = all[0];
    mask.width = width;
    mask.height = height;
    const context = mask.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let i = 0; i < width * height; i += 1) {
      // What two objects turn around is as it was.
      let share = 0;
      for (const { flipped, shares } of all) {
        if (flipped) share += (1 - 2 * share) * (shares[i] / 255);
      }
      pixels.data[4 * i + 3] = Math.round(255 * share);
    }
    context.putImageData(pixels, 0, 0);
  }

  /** Number of the object at a point of the photo (0 .. 1), the smallest if several; or -1. */
  function at(x, y) {
    for (let number = all.length - 1; number >= 0; number -= 1) {
      const { width, height, shares } = all[number];
      const column = Math.floor(x * width);
      const row = Math.floor(y * height);
      const inside = column >= 0 && column < width && row >= 0 && row < height;
      if (inside && shares[row * width + column] > 127) return number;
    }
    return -1;
  }

  /** The part of an image that is turned around, the rest transparent. */
  function turnedPart(image) {
    const width = image.naturalWidth ?? image.width;
    const height = image.naturalHeight ?? image.height;
    if (mixed.width !== width || mixed.height !== height) {
      mixed.width = width;
      mixed.height = height;
    }
    const context = mixed.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(image, 0, 0);
    context.globalCompositeOperation = "destination-in";
    context.drawImage(mask, 0, 0, width, height);
    return mixed;
  }

  const flipped = () => all.filter((object) => object.flipped).map((object) => object.at);
  return { all, at, flipped, load, toggle, turnedPart };
}
