// Figures as a person reads them. `formats.py` says the same on the server.

export const NOTHING = "–";
const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];

/** Four significant digits; very large and very small ones with an exponent. */
export function figure(value) {
  if (value === null || value === undefined) return NOTHING;
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return grouped(String(value));
  if (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) return value.toExponential(2).replace("e+", "e");
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
  return grouped(value.toFixed(digits));
}

/** With a decimal prefix: 1.23 GFLOP. */
export function prefixed(value, unit) {
  if (value === null || value === undefined) return NOTHING;
  const step = value === 0 ? 0 : Math.min(PREFIXES.length - 1, Math.max(0, Math.floor(Math.log10(Math.abs(value)) / 3)));
  return `${figure(value / 1000 ** step)} ${PREFIXES[step]}${unit}`;
}

/** Bytes in binary units. */
export function size(value) {
  if (value === null || value === undefined) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  while (Math.abs(value) >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return at === 0 ? `${Math.round(value)} B` : `${value.toFixed(1)} ${units[at]}`;
}

/** 52 ms, 8.1 s, 3 min 20 s, 2 h 05 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds < 1) return `${Math.round(Math.max(0, seconds) * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** Per cent. */
export function share(value) {
  return Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : figure(value);
}

/** An identifier as words. */
export function words(code) {
  return String(code).replaceAll("_", " ");
}

export function capitalized(text) {
  return text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}

/** Shares per cent, all else as figures. */
export function metricText(name, value) {
  return name === "accuracy" ? share(value) : figure(value);
}

/** A time in the reader's own zone; the day is left out when it is today. */
export function moment(rfc3339) {
  const then = new Date(rfc3339);
  const today = then.toDateString() === new Date().toDateString();
  const clock = { hour: "2-digit", minute: "2-digit" };
  if (today) return then.toLocaleTimeString([], { ...clock, second: "2-digit" });
  const year = then.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return then.toLocaleString([], { day: "numeric", month: "short", year, ...clock });
}

/** Seconds from the first claim of a job to its end, or to now. */
export function took(job) {
  if (job.started_at === null) return null;
  const end = job.finished_at === null ? Date.now() : Date.parse(job.finished_at);
  return Math.max(0, (end - Date.parse(job.started_at)) / 1000);
}

function grouped(text) {
  const [whole, fraction] = text.split(".");
  const digits = whole.replace("-", "").replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return (whole.startsWith("-") ? "−" : "") + digits + (fraction === undefined ? "" : `.${fraction}`);
}
