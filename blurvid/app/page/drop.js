/** Files and folders that are dropped on the page. */

const UNTOLD = /\.(hei[cf]|hif|avif|jp2|tga|tiff?|p[gnp]m)$/i; // of which browsers may not know the type

/** Whether a file of a folder is meant: there may be anything among photos. */
export const isPhoto = (file) =>
  !file.name.startsWith(".") && (file.type.startsWith("image/") || UNTOLD.test(file.name));

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) break;
    for (const one of some) found.push(...(await filesOf(one)));
  }
  return found.filter(isPhoto).sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}

/**
 * @param {HTMLElement} veil shown while something is held over the page
 * @param {(files: File[]) => void} send
 */
export function watchDrops(veil, send) {
  let over = 0;
  addEventListener("dragenter", (event) => {
    event.preventDefault();
    over += 1;
    veil.hidden = false;
  });
  addEventListener("dragleave", () => {
    over -= 1;
    veil.hidden = over <= 0;
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    over = 0;
    veil.hidden = true;
    const entries = [...event.dataTransfer.items]
      .map((item) => item.webkitGetAsEntry?.())
      .filter(Boolean);
    if (!entries.length) return send([...event.dataTransfer.files]);
    const files = (await Promise.all(entries.map(filesOf))).flat();
    return send(files);
  });
}
