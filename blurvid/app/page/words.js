/** What is said about work, in words. */

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

const STAGES = {
  reading: "Reading the photo",
  "loading the model": "Loading the model",
  frames: "Rendering frames",
  writing: "Writing",
};

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** What is being done, and for how long. */
export function work(job) {
  const doing = STAGES[job.stage] ?? "Finding the motion";
  return job.left === null ? doing : `${doing}, ${duration(job.left)} left`;
}

/** The line below a name. */
export function state(job) {
  if (job.state === "failed") return job.error;
  if (job.state === "working") return job.left === null ? "At work" : `${duration(job.left)} left`;
  if (job.state === "waiting") return job.left === null ? "Waiting" : `Waiting, takes ${duration(job.left)}`;
  return sentence(job.verdict.split(":")[0] || "done");
}

export function title(job) {
  return job.part ? `${job.name}, a part` : job.name;
}
