/** The page: photos go in, their work is watched, results are shown and saved. */

import { isPhoto, watchDrops } from "./drop.js";
import { makePart } from "./part.js";
import { duration, sentence, state, title, work } from "./words.js";

const KINDS = [
  ["mp4", "MP4", "a video that plays everywhere"],
  ["gif", "GIF", "an animation, 256 colours"],
  ["webp", "WebP", "an animation, all colours"],
  ["png", "PNG", "every frame, in a ZIP file"],
  ["wipe", "Wipe", "blurred against sharp, to be posted"],
];
const NOTE = 8000; // milliseconds that a note stays
const GONE = 6; // attempts after which the server is taken for gone

const find = (id) => document.getElementById(id);
const rows = new Map(); // id of a job -> its row
let jobs = [];
let chosen = null; // id of the job that is looked at
let sending = 0; // photos on their way

const part = makePart(find("area"), find("picture"), find("box"), ([, , wide, high]) => {
  find("part-size").textContent = `${wide} × ${high}`;
});

// Asking the server

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: answer.statusText }));
  throw new Error(error);
}

function note(text) {
  const line = document.createElement("p");
  line.textContent = text;
  find("notes").append(line);
  setTimeout(() => line.remove(), NOTE);
}

const told = (error) => note(error instanceof TypeError ? "blurvid does not answer." : error.message);

const settings = () => Object.fromEntries(new FormData(find("choices")));

async function send(files) {
  const wanted = settings();
  let first = true;
  for (const file of files) {
    sending += 1;
    showTotal();
    try {
      const query = new URLSearchParams({ name: file.name, ...wanted });
      const answer = await ask(`photos?${query}`, { method: "POST", body: file });
      const { id } = await answer.json();
      if (first) choose(id);
      first = false;
    } catch (error) {
      told(error);
    }
    sending -= 1;
    showTotal();
  }
}

async function begin(job, box) {
  const body = JSON.stringify({ photo: job.photo, ...settings(), part: box });
  try {
    const answer = await ask("jobs", { method: "POST", body });
    choose((await answer.json()).id);
  } catch (error) {
    told(error);
  }
}

const remove = (id) => ask(`jobs/${id}`, { method: "DELETE" }).catch(told);

async function save(id, kind, button) {
  button.setAttribute("aria-busy", "true");
  try {
    await ask(`jobs/${id}/${kind}`, { method: "HEAD" }); // made here, so that it is quick then
    const link = document.createElement("a");
    link.href = `jobs/${id}/${kind}`;
    link.download = "";
    link.click();
  } catch (error) {
    told(error);
  }
  button.removeAttribute("aria-busy");
}

// The list

function makeRow(job) {
  const row = document.createElement("li");
  row.className = "item";
  row.innerHTML = `<button class="pick" type="button"><span class="thumb"><img alt="" loading="lazy"></span>
    <span class="told"><b></b><span class="verdict"></span><div class="bar" hidden><i></i></div></span></button>
    <button class="icon remove" type="button"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M6 6l12 12M18 6L6 18"/></svg></button>`;
  row.querySelector("img").src = `photos/${job.photo}`;
  row.querySelector("b").textContent = title(job);
  row.querySelector(".pick").addEventListener("click", () => choose(job.id));
  const cross = row.querySelector(".remove");
  cross.setAttribute("aria-label", `Remove ${title(job)}`);
  cross.title = "Remove";
  cross.addEventListener("click", () => remove(job.id));
  if (job.part) {
    const [left, top, wide, high] = job.part;
    row.querySelector("img").style.objectPosition = // what is seen of it is about the part
      `${(100 * (left + wide / 2)) / job.width}% ${(100 * (top + high / 2)) / job.height}%`;
  }
  return row;
}

function showRow(row, job) {
  row.className = `item ${job.state === "failed" ? "failed" : job.level}`;
  row.querySelector(".told > span").textContent = state(job);
  row.querySelector(".pick").setAttribute("aria-current", String(job.id === chosen));
  const bar = row.querySelector(".bar");
  bar.hidden = job.state !== "working";
  bar.classList.toggle("unknown", job.share === 0);
  bar.style.setProperty("--share", job.share);
}

function showList() {
  const known = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) {
    if (known.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  for (const job of jobs) {
    if (!rows.has(job.id)) {
      rows.set(job.id, makeRow(job));
      find("list").append(rows.get(job.id));
    }
    showRow(rows.get(job.id), job);
  }
  showTotal();
}

function showTotal() {
  const open = jobs.filter((job) => ["waiting", "working"].includes(job.state));
  const left = open.reduce((sum, job) => sum + (job.left ?? NaN), 0);
  const parts = [];
  if (sending) parts.push("reading photos");
  if (open.length > 1) {
    parts.push(`${open.length} to go${Number.isNaN(left) ? "" : `, about ${duration(left)}`}`);
  }
  find("total").textContent = parts.join(", ");
}

// The photo that is looked at

const current = () => jobs.find((job) => job.id === chosen);

function choose(id) {
  chosen = id;
  endPart();
  show();
  rows.get(id)?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function show() {
  if (!current() && (chosen === null || rows.has(chosen))) chosen = jobs.at(-1)?.id ?? null;
  const job = current(); // may have been begun so recently that it is not known yet
  document.body.classList.toggle("empty", !jobs.length);
  find("welcome").hidden = Boolean(jobs.length);
  find("work").hidden = !job && !jobs.length;
  showList();
  document.title = job ? `${title(job)} · blurvid` : "blurvid";
  if (job) showJob(job);
}

function showJob(job) {
  const choosing = !find("box").hidden;
  const done = job.state === "done";
  find("name").textContent = title(job);
  find("verdict").textContent = done ? sentence(job.verdict || "done") : `${job.width} × ${job.height}`;
  find("heading").className = `name ${job.level}`;
  find("verdict").title = job.warnings.join("\n");
  find("part").disabled = choosing;
  find("again").hidden = !["done", "failed"].includes(job.state);
  find("save").hidden = !done;
  const player = find("player");
  player.hidden = !done || choosing;
  const address = done ? `jobs/${job.id}/player` : "about:blank";
  if (player.getAttribute("src") !== address) player.setAttribute("src", address);
  find("photo").hidden = done && !choosing;
  const picture = find("picture");
  if (picture.getAttribute("src") !== `photos/${job.photo}`) picture.src = `photos/${job.photo}`;
  picture.alt = `The photo ${job.name}`;
  find("area").style.setProperty("--ratio", job.width / job.height);
  const pill = find("pill");
  pill.hidden = done || choosing;
  pill.classList.toggle("failed", job.state === "failed");
  find("ring").hidden = find("stop").hidden = job.state === "failed";
  find("ring").classList.toggle("unknown", job.share === 0);
  find("ring").style.setProperty("--share", job.share);
  find("stage-text").textContent = job.state === "working" ? work(job) : state(job);
}

function endPart() {
  part.hide();
  find("shade").hidden = true;
  find("asking").hidden = true;
  document.body.classList.remove("choosing");
}

// What is done with the page

for (const [kind, name, text] of KINDS) {
  const button = document.createElement("button");
  button.type = "button";
  button.id = `save-${kind}`;
  button.innerHTML = "<b></b><span></span>";
  [button.firstChild.textContent, button.lastChild.textContent] = [name, text];
  button.addEventListener("click", () => save(chosen, kind, button));
  find("saves").append(button);
}

const bring = (input, wanted) => input.addEventListener("change", () => {
  send([...input.files].filter(wanted));
  input.value = "";
});
bring(find("files"), () => true);
bring(find("folder"), isPhoto);
for (const id of ["choose", "add"]) find(id).addEventListener("click", () => find("files").click());
find("choose-folder").addEventListener("click", () => find("folder").click());

find("settings").addEventListener("click", () => {
  const choices = find("choices");
  choices.hidden = !choices.hidden;
  find("settings").setAttribute("aria-expanded", String(!choices.hidden));
});
find("choices").addEventListener("submit", (event) => event.preventDefault());

find("stop").addEventListener("click", () => remove(chosen));
find("again").addEventListener("click", () => begin(current(), current().part));
find("part").addEventListener("click", () => {
  find("asking").hidden = false;
  document.body.classList.add("choosing");
  find("box").hidden = find("shade").hidden = false;
  show();
  part.show(current().width, current().height);
});
find("part-go").addEventListener("click", () => begin(current(), part.pixels()));
find("part-cancel").addEventListener("click", () => choose(chosen));
find("box").addEventListener("keydown", (event) => {
  if (event.key === "Enter") find("part-go").click();
  if (event.key === "Escape") find("part-cancel").click();
});

watchDrops(find("veil"), send);

// Hearing of what has changed

let missed = 0;
const events = new EventSource("events");
events.addEventListener("message", (event) => {
  missed = 0;
  jobs = JSON.parse(event.data);
  show();
});
events.addEventListener("error", () => {
  missed += 1;
  if (missed < GONE && events.readyState !== EventSource.CLOSED) return;
  events.close();
  find("gone").hidden = false;
});
