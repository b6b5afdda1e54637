// Arithmetic on what the gateway has told: rates and percentiles of the difference of two answers, and their spelling.

/** The latest of `samples` that is at least `seconds` older than the last one, else the first. */
export function before(samples, seconds) {
  const last = samples.at(-1);
  for (let at = samples.length - 2; at >= 0; at--) {
    if (last.at_ms - samples[at].at_ms >= seconds * 1000 - 50) return samples[at];
  }
  return samples[0];
}

/** By how much `of` has risen a second from `old` to `now`; null without time between them. */
export function rate(old, now, of) {
  const seconds = (now.at_ms - old.at_ms) / 1000;
  return seconds > 0 ? Math.max(0, of(now) - of(old)) / seconds : null;
}

/** What was observed from `old` to `now`. */
export function between(old, now) {
  const counts = now.counts.map((count, at) => Math.max(0, count - (old?.counts[at] ?? 0)));
  return { bounds_s: now.bounds_s, counts };
}

export const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

/**
 * The time in seconds that a share `q` of the observations took at most, estimated as Prometheus does: evenly spread
 * within a bucket. `edge` says that it lies in the first bucket (`under`) or the last (`over`), whose bound alone is known.
 */
export function quantile({ bounds_s, counts }, q) {
  const wanted = total(counts) * q;
  if (!wanted) return null;
  let below = 0;
  for (const [at, count] of counts.entries()) {
    if (count && below + count >= wanted) {
      if (at === bounds_s.length) return { value: bounds_s.at(-1), bound: bounds_s.at(-1), edge: "over" };
      const from = at ? bounds_s[at - 1] : 0;
      const value = from + (bounds_s[at] - from) * (wanted - below) / count;
      return { value, bound: bounds_s[at], edge: at ? null : "under" };
    }
    below += count;
  }
  return null;
}

const NONE = "–";

const plain = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 99.5) return Math.round(value).toLocaleString("en");
  if (size >= 9.95) return value.toFixed(1);
  return size >= 0.01 ? value.toFixed(2) : value.toPrecision(2);
};

/** A value on an axis: round, so without zeros at its end. */
export const axis = (value) => String(Number(value.toPrecision(3)));

export const perSecond = (value) => (value === null ? NONE : `${plain(value)}/s`);
export const count = (value) => value.toLocaleString("en");
export const percent = (share) => {
  if (share === null || !Number.isFinite(share)) return NONE;
  return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
};

export function seconds(value) {
  if (value === null) return NONE;
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 0.9995) return `${value < 0.00995 ? (value * 1000).toFixed(1) : Math.round(value * 1000)} ms`;
  if (value < 99.95) return `${value.toFixed(value < 9.995 ? 2 : 1)} s`;
  return span(value);
}

/** A quantile in words: where only a bound is known, it says so. */
export function spelled(found) {
  if (!found) return NONE;
  if (found.edge === "under") return `under ${seconds(found.bound)}`;
  return (found.edge === "over" ? "over " : "") + seconds(found.value);
}

export function dollars(value) {
  if (value === null) return NONE;
  const size = Math.abs(value);
  if (size === 0) return "$0";
  if (size >= 1000) return `$${Math.round(value).toLocaleString("en")}`;
  return `$${size >= 0.1 ? value.toFixed(2) : size >= 0.0001 ? value.toFixed(4) : value.toExponential(1)}`;
}

/** A large number, in thousands, millions or billions. */
export function short(value) {
  if (value === null) return NONE;
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size * 0.9995) return `${plain(value / size)} ${letter}`;
  }
  return Number.isInteger(value) ? String(value) : plain(value);
}

export function bytes(value) {
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [1024, "KiB"]]) {
    if (value >= size) return `${plain(value / size)} ${unit}`;
  }
  return `${value} B`;
}

export function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}
