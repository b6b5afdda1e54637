// Asks the gateway every second how it stands, and shows it.

import { axis, before, between, bytes, count, dollars, percent, perSecond, quantile, rate, seconds, short, span, spelled, total } from "./figures.js";
import { Plot } from "./plot.js";

const PAUSE_MS = 1000;
/** Percentiles and rates of tiles and plots are over so many seconds, those of tables over a minute. */
const WINDOW_S = 10, TABLE_S = 60;
/** The longest that plots show. */
const MOST_S = 900;
const KEY = "llmkit-key";
const NOTHING = { bounds_s: [], counts: [] };

const by = (id) => document.getElementById(id);
let samples = [], points = [], timer = null, lost = null;

const failed = (sample) => total(sample.requests.outcomes) - (sample.requests.outcomes.ok ?? 0);
const tokens = (sample) => sample.usage.input_tokens + sample.usage.output_tokens;

const value = (found) => found?.value ?? null;
const plots = [
  new Plot(by("plot-requests"), [
    { name: "all", of: (point) => point.requests },
    { name: "failed", of: (point) => point.failed },
  ], { spell: perSecond, tick: axis, least: 1 }),
  new Plot(by("plot-latency"), [
    { name: "p50", of: (point) => value(point.p50) },
    { name: "p95", of: (point) => value(point.p95) },
    { name: "p99", of: (point) => value(point.p99) },
  ], { spell: seconds, tick: (value) => (value ? seconds(value) : "0"), least: 0.01 }),
  new Plot(by("plot-cost"), [
    { name: "spent", of: (point) => point.spent },
    { name: "saved by sharing", of: (point) => point.saved },
  ], { spell: (dollar) => (dollar === null ? "–" : `${dollars(dollar)}/h`), tick: dollars, least: 0.01 }),
  new Plot(by("plot-tokens"), [
    { name: "in", of: (point) => point.input },
    { name: "out", of: (point) => point.output },
  ], { spell: (rate) => (rate === null ? "–" : `${short(rate)}/s`), tick: short, least: 10 }),
];

function made(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function row(...cells) {
  const line = made("tr");
  line.append(...cells.map((cell) => (cell instanceof Node ? cell : made("td", cell))));
  return line;
}

const number = (text, className = "") => made("td", text, `n ${className}`);

/** Replaces a table's rows; without any, it says why. */
function fill(id, rows, why) {
  const body = by(id).tBodies[0];
  if (!rows.length) {
    const cell = made("td", why, "empty");
    cell.colSpan = by(id).tHead?.rows[0].cells.length ?? 1;
    rows = [row(cell)];
  }
  body.replaceChildren(...rows);
}

const STATES = { closed: ["closed", "good"], "half-open": ["half-open: being tried", "warn"], open: ["open: left out", "bad"] };

function state({ circuit, circuit_count, not_closed }) {
  let [text, className] = STATES[circuit] ?? ["not configured", ""];
  if (not_closed && not_closed < circuit_count) [text, className] = [`${not_closed} of ${circuit_count} not closed`, "warn"];
  const cell = made("td");
  cell.append(made("span", text, `state ${className}`));
  return cell;
}

function point(sample) {
  const old = before(samples, WINDOW_S);
  const over = (of) => rate(old, sample, of);
  const perHour = (of) => { const each = over(of); return each === null ? null : each * 3600; };
  const fresh = old === sample ? NOTHING : between(old.requests.duration, sample.requests.duration);
  return {
    at_ms: sample.at_ms,
    requests: over((it) => total(it.requests.outcomes)),
    failed: over(failed),
    p50: quantile(fresh, 0.5), p95: quantile(fresh, 0.95), p99: quantile(fresh, 0.99),
    spent: perHour((it) => it.usage.cost_usd), saved: perHour((it) => it.usage.saved_usd),
    input: over((it) => it.usage.input_tokens), output: over((it) => it.usage.output_tokens),
    tokens: over(tokens),
  };
}

function tile(title, text, below, className = "") {
  const box = made("div", undefined, "tile");
  const shown = made("b", undefined, className);
  const at = text.search(/ ?(\/s|\/h|req|%|ms|µs|s$)/);
  shown.append(at > 0 ? text.slice(0, at) : text);
  if (at > 0) shown.append(made("i", text.slice(at)));
  box.append(made("h2", title), shown, made("span", below));
  return box;
}

function tiles(sample, now) {
  const all = total(sample.requests.outcomes);
  const share = now.requests ? now.failed / now.requests : null;
  const flying = sample.providers.reduce((sum, provider) => sum + Math.max(0, provider.in_flight), 0);
  const overhead = quantile(sample.requests.overhead, 0.5);
  const { sharing, usage } = sample;
  const shared = sharing.hits + sharing.joined;
  by("tiles").replaceChildren(
    tile("Requests", perSecond(now.requests), `${count(all)} since the start`),
    tile("Failed", percent(share), `${count(failed(sample))} since the start`, share > 0.05 ? "bad" : share > 0 ? "warn" : ""),
    tile("Latency p95", spelled(now.p95), `p50 ${spelled(now.p50)}, p99 ${spelled(now.p99)}`),
    tile("Calls in flight", count(flying), `our own time ${spelled(overhead)}`),
    tile("Cost", dollars(usage.cost_usd), now.spent === null ? "since the start" : `now ${dollars(now.spent)}/h`),
    tile("Saved by sharing", dollars(usage.saved_usd), `${count(shared)} of ${count(sharing.asked)} requests`),
    tile("Tokens", `${short(now.tokens)}/s`, `${short(usage.input_tokens)} in, ${short(usage.output_tokens)} out`),
  );
}

function providers(sample) {
  const old = before(samples, TABLE_S);
  const rows = [];
  for (const provider of sample.providers) {
    const was = old === sample ? undefined : old.providers.find((it) => it.name === provider.name);
    const took = was ? between(was.duration, provider.duration) : NOTHING;
    const first = was ? between(was.first_token, provider.first_token) : NOTHING;
    const calls = total(took.counts);
    const errors = was ? total(provider.errors) - total(was.errors) : 0;
    const elapsed = (sample.at_ms - old.at_ms) / 1000;
    rows.push(row(
      made("td", provider.name, "cut"), state(provider), number(count(provider.in_flight)),
      number(elapsed > 0 ? perSecond(calls / elapsed) : "–"),
      number(calls ? percent(errors / calls) : "–", errors ? (errors > calls / 20 ? "bad" : "warn") : ""),
      number(spelled(quantile(took, 0.5))), number(spelled(quantile(took, 0.95))), number(spelled(quantile(took, 0.99))),
      number(spelled(quantile(first, 0.5))), number(short(provider.input_tokens)), number(short(provider.output_tokens)),
      number(dollars(provider.cost_usd)),
    ));
    const troubled = provider.circuits.filter((it) => it.state !== "closed" || it.failure_count > 0);
    for (const it of troubled) {
      const name = it.key ? `${it.model} by ${it.key}` : it.model;
      const probe = it.next_probe_in_s === null ? "" : it.next_probe_in_s > 0 ? `, next try in ${span(it.next_probe_in_s)}` : ", next try is due";
      const cell = made("td");
      cell.colSpan = 12;
      cell.append(`${name}: `, made("b", it.state, it.state === "open" ? "bad" : ""), `, ${it.failure_count} failures in a row${probe}`);
      const line = row(cell);
      line.className = "part";
      rows.push(line);
    }
  }
  fill("providers", rows, "No provider is configured.");
}

const HEALTH = { known: ["known", "good"], unknown: ["too few calls", ""], down: ["failing", "bad"] };

function models(sample) {
  const rows = sample.models.flatMap((model) => model.targets.map((target, at) => {
    const [text, className] = HEALTH[target.state] ?? [target.state, ""];
    const health = made("td");
    health.append(made("span", text, `state ${className}`));
    const millis = (value) => (value === null ? "–" : seconds(value / 1000));
    return row(
      made("td", at ? "" : model.name, "cut"), at ? "" : model.strategy, made("td", target.name, "cut"), health,
      number(percent(target.success_rate)), number(count(target.calls)), number(millis(target.p50_ms)),
      number(millis(target.p95_ms)), number(count(target.in_flight)),
    );
  }));
  fill("models", rows, "No model is configured: callers name a provider's own models.");
}

function limits({ limits }) {
  by("limits-about").textContent = limits.tightest.length ? `the ${limits.tightest.length} with the least left, of ${count(limits.names)} names` : "";
  const spell = (limit, value) => (limit.resource === "money" ? dollars(value) : short(value));
  fill("limits", limits.tightest.map((limit) => {
    const left = made("td");
    const bar = made("meter");
    [bar.max, bar.low, bar.high, bar.optimum, bar.value] = [limit.limit, limit.limit * 0.1, limit.limit * 0.3, limit.limit, limit.remaining];
    left.append(bar, `${spell(limit, limit.remaining)} of ${spell(limit, limit.limit)}`);
    return row(limit.level, made("td", limit.name, "cut"), limit.resource, left, number(limit.reset_ms ? `in ${span(limit.reset_ms / 1000)}` : "–"));
  }), "No limit is configured, or nobody has called yet.");
}

function list(id, entries) {
  by(id).replaceChildren(...entries.flatMap(([name, text]) => [made("dt", name), made("dd", text)]));
}

function sharing({ sharing, usage }) {
  if (!sharing.enabled) return list("sharing", [["Identical requests", "not shared"]]);
  list("sharing", [
    ["Needed no call of their own", percent((sharing.hits + sharing.joined) / sharing.asked)],
    ["Answered by a finished answer", count(sharing.hits)],
    ["Joined a call in flight", count(sharing.joined)],
    ["Cost saved", dollars(usage.saved_usd)],
    ["Calls in flight, and their readers", `${count(sharing.in_flight)}, ${count(sharing.subscribers)}`],
    ["Finished answers kept", `${count(sharing.entries)}, ${bytes(sharing.bytes)}`],
    ["Forgotten to make room", count(sharing.evictions)],
  ]);
}

function outcomes({ requests, usage }) {
  const words = Object.entries(requests.outcomes).sort(([, one], [, other]) => other - one);
  const entries = words.map(([word, times]) => [word.replaceAll("_", " "), count(times)]);
  if (!entries.length) entries.push(["No request has ended", "0"]);
  if (usage.unpriced_calls) entries.push(["calls without a known price", count(usage.unpriced_calls)]);
  list("outcomes", entries);
}

function changes({ circuit_changes }) {
  fill("changes", circuit_changes.map((change) => row(
    new Date(change.at_ms).toLocaleTimeString(), made("td", `${change.provider}/${change.model}`, "cut"),
    (() => { const cell = made("td"); cell.append(made("span", `${change.from} → ${change.to}`, `state ${STATES[change.to]?.[1] ?? ""}`)); return cell; })(),
    made("td", change.reason, "wide"),
  )), "No circuit has changed since the start.");
}

function show(sample) {
  // A gateway that was started anew counts anew.
  if (samples.length && sample.uptime_s < samples.at(-1).uptime_s) [samples, points] = [[], []];
  samples.push(sample);
  const oldest = sample.at_ms - (TABLE_S + 5) * 1000;
  while (samples.length > 2 && samples[1].at_ms < oldest) samples.shift();
  const now = point(sample);
  points.push(now);
  while (points[0].at_ms < sample.at_ms - MOST_S * 1000) points.shift();
  const [text, className] = { ok: ["ok", "good"], degraded: ["degraded: a circuit is not closed", "warn"] }[sample.status] ?? [sample.status, "warn"];
  status(text, className);
  by("about").textContent = `version ${sample.version}, up ${span(sample.uptime_s)}`;
  by("unmeasured").hidden = sample.measured;
  by("figures").hidden = by("choice").hidden = false;
  tiles(sample, now);
  draw();
  for (const part of [providers, models, limits, sharing, outcomes, changes]) part(sample);
}

function draw() {
  plots.forEach((plot) => plot.show(points, Number(by("span").value)));
}

function status(text, className) {
  by("status").textContent = text;
  by("status").className = `state ${className}`;
}

/** Asks for a key; `why` is what was wrong with the last one. */
function ask(why) {
  sessionStorage.removeItem(KEY);
  [samples, points] = [[], []];
  by("figures").hidden = by("choice").hidden = by("forget").hidden = true;
  by("ask").hidden = false;
  by("refused").textContent = why;
  by("about").textContent = "";
  status("a key is needed", "");
  by("key").focus();
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  const key = sessionStorage.getItem(KEY);
  try {
    const answer = await fetch("/api/v1/overview", {
      headers: key ? { authorization: `Bearer ${key}` } : {}, cache: "no-store", signal: AbortSignal.timeout(10_000),
    });
    if (answer.status === 401 || answer.status === 403) {
      const unknown = answer.status === 401 ? "The gateway does not know this key." : "This key lacks the scope admin.";
      ask(key ? unknown : "");
      return;
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const sample = await answer.json();
    lost = null;
    document.body.classList.remove("stale");
    by("ask").hidden = true;
    by("forget").hidden = !key;
    show(sample);
  } catch (error) {
    lost ??= new Date().toLocaleTimeString();
    document.body.classList.add("stale");
    status(`not reachable since ${lost}`, "bad");
    console.warn(error);
  }
  clearTimeout(timer);
  timer = setTimeout(poll, PAUSE_MS);
}

by("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, by("key").value.trim());
  by("key").value = "";
  poll();
});
by("forget").addEventListener("click", () => ask(""));
by("span").addEventListener("change", draw);
document.addEventListener("visibilitychange", poll);
poll();
