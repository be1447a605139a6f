"use strict";

/** Where the edge is when it moves by itself, as a part of the picture, `at` 0 .. 1 of a round. */
function edgeAt(at) {
  const ease = (part) => part * part * (3 - 2 * part);
  if (at < 0.14) return 1; // blurred
  if (at < 0.46) return 1 - ease((at - 0.14) / 0.32);
  if (at < 0.76) return 0; // sharp, moving
  return ease((at - 0.76) / 0.24);
}

/** Files made in the browser, of what `drawn` draws. */
const saver = {
  /** Kinds of video, the most widely played first, as `MediaRecorder` calls them. */
  kinds: [
    ["video/mp4;codecs=avc1.640028", "mp4"],
    ["video/mp4;codecs=avc1.42E01F", "mp4"],
    ["video/webm;codecs=vp9", "webm"],
    ["video/webm;codecs=vp8", "webm"],
  ],

  /** The kind that this browser can make; undefined if none. */
  kind() {
    if (!window.MediaRecorder || !HTMLCanvasElement.prototype.captureStream) return undefined;
    return this.kinds.find(([type]) => MediaRecorder.isTypeSupported(type));
  },

  /** Sides of a video: even, and no longer than what phones play. */
  sides(width, height) {
    const shrink = Math.min(1, 1920 / Math.max(width, height), 1200 / Math.min(width, height));
    return [width, height].map((side) => Math.max(2, 2 * Math.round((side * shrink) / 2)));
  },

  /** Hand a file to the user. */
  give(blob, name) {
    const link = document.createElement("a");
    link.download = name;
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  },

  /**
   * Record a video while it plays.
   *
   * `draw(context, width, height, at)` draws what is seen at a time [s]; `tell` hears how much is
   * done, 0 .. 1.
   */
  async record(kind, [width, height], seconds, draw, tell) {
    const RATE = 30; // pictures per second
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d", { alpha: false });
    draw(context, width, height, 0);
    const stream = canvas.captureStream(RATE);
    const recorder = new MediaRecorder(stream, {
      mimeType: kind[0],
      videoBitsPerSecond: clamp(width * height * 9, 2.5e6, 16e6),
    });
    const parts = [];
    recorder.ondataavailable = ({ data }) => data.size && parts.push(data);
    const done = new Promise((resolve, reject) => {
      recorder.onstop = resolve;
      recorder.onerror = ({ error }) => reject(error);
    });
    recorder.start();
    const begin = performance.now();
    let at = 0;
    while (at < seconds) {
      await new Promise((resolve) => setTimeout(resolve, 1000 / RATE));
      at = (performance.now() - begin) / 1000;
      draw(context, width, height, Math.min(at, seconds - 1e-3));
      tell(Math.min(1, at / seconds));
    }
    recorder.stop();
    await done;
    for (const track of stream.getTracks()) track.stop();
    return new Blob(parts, { type: kind[0] });
  },
};
