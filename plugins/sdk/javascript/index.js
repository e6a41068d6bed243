// What a load-balancing policy of Wasmesh needs in JavaScript: the contract's types as objects, and small helpers.
//
//     import { below, definePolicy, fallback, to } from "./sdk/index.js";
//
//     class Anyone {
//       plan = {};
//       update({ endpoints }) { this.count = endpoints.length; }
//       pick(request) { return this.count === 0 ? fallback() : to(below(request.random, this.count)); }
//     }
//
//     export const policy = definePolicy((config, about) => new Anyone());
//
// `Levels` has what most policies share: priorities, and somebody else when the chosen endpoint is ejected. What each field
// means is said in policy.wit. Numbers of 64 bits are BigInts.
import hostStats from "wasmesh:policy/stats@0.1.0";
import hostRequestInfo from "wasmesh:policy/request-info@0.1.0";
import hostLog from "wasmesh:policy/log@0.1.0";

/** What functions that ask for a number answer where there is none. */
export const NOTHING = 0xffffffff;

/**
 * Makes a policy of a function that gets the configuration (an object) and where the instance works (an object with zone,
 * node, namespace, proxy, worker, workers, service and port), and returns
 *
 * - `plan`: what the host is to prepare, `{ keys, wants, reasons }`, each a list of strings that may be left out;
 * - `update({ generation, nowMs, endpoints })`: takes the whole list of candidates, at once and then each time it changes;
 * - `pick(request)`: says who takes the request, by `to`, `fallback`, `reject` or `hold`. The request is valid for this call only;
 * - `completed(report)`, if it wants to know how requests ended: see `defineFeedback`.
 *
 * What it throws rejects the configuration, and in `update` the list.
 */
export function definePolicy(create) {
  return {
    init: (config, about) =>
      orRefuse(() => {
        instance = create(JSON.parse(config), Object.fromEntries(about.map(({ name, value }) => [name, value])));
        const { keys = [], wants = [], reasons = [] } = instance.plan ?? {};
        return { keys: keys.map(wellFormed), wants: wants.map(wellFormed), reasons: reasons.map(wellFormed) };
      }),
    update: (generation, nowMs, endpoints) =>
      orRefuse(() => {
        for (const endpoint of endpoints) {
          endpoint.id = joined(endpoint.idLow, endpoint.idHigh);
          // The upper half of what is unsigned reaches us as negative.
          endpoint.weight >>>= 0;
          endpoint.priority >>>= 0;
        }
        instance.update({ generation, nowMs, endpoints });
      }),
    pick: (k0, k1, k2, k3, k4, k5, k6, k7, randomLow, randomHigh, nowMs, attempt, avoid, traits) => {
      const r = request;
      r.keyHalves = [k0, k1, k2, k3, k4, k5, k6, k7];
      r.randomLow = randomLow >>> 0;
      r.randomHigh = randomHigh >>> 0;
      r.nowMs = nowMs;
      r.attempt = attempt;
      r.avoid = avoid;
      r.traits = traits;
      r.serial++;
      r.looks = MOST_LOOKS;
      return instance.pick(r);
    },
  };
}

/** For policies that are told how their requests ended: `export const feedback = defineFeedback();` beside the policy. */
export function defineFeedback() {
  return {
    completed: (low, high, tag, firstByteUs, totalUs, status, outcome, nowMs) =>
      instance.completed({
        endpointId: joined(low, high),
        tag,
        firstByteUs: firstByteUs >>> 0,
        totalUs: totalUs >>> 0,
        status: status >>> 0,
        transportError: (outcome & 1) !== 0,
        serverError: (outcome & 2) !== 0,
        timeout: (outcome & 4) !== 0,
        cancelled: (outcome & 8) !== 0,
        streamed: (outcome & 16) !== 0,
        nowMs,
      }),
  };
}

let instance;

/** What a pick is for. */
class Request {
  /** For `Members`: which pick this is, and of how many endpoints may still be asked whether they are available. */
  serial = 0;
  looks = 0;

  /** 64 random bits, fresh for each pick; `randomLow` and `randomHigh` are their halves, as numbers, which is quicker. */
  get random() {
    return joined(this.randomLow, this.randomHigh);
  }
  /** The hash of what the plan's key of this number names, 0n where there is nothing. */
  key(number) {
    return joined(this.keyHalves[2 * number], this.keyHalves[2 * number + 1]);
  }
  /** Whether the request has what the plan's key of this number names. */
  hasKey(number) {
    return ((this.traits >> number) & 1) === 1;
  }
  get isRetry() { return (this.traits & 16) !== 0; }
  get isHttp() { return (this.traits & 32) !== 0; }
  get isGrpc() { return (this.traits & 64) !== 0; }
  get isTls() { return (this.traits & 128) !== 0; }
}

const request = new Request();

/** The answer of a pick. */
class Decision {
  alternate = null;
  reason = 0;
  tag = 0;

  constructor(tag, val) {
    this.choice = { tag, val };
  }
  /** Says why: an index into the plan's reasons. */
  because(reason) {
    this.reason = reason;
    return this;
  }
  /** Whom to try next if no connection to the chosen one can be made. */
  or(endpoint) {
    this.alternate = endpoint;
    return this;
  }
  /** Gives it a number, up to 2^53, that comes back in the report of how the request ended. */
  tagged(tag) {
    this.tag = tag;
    return this;
  }
}

/** To the endpoint at this place in the list. */
export const to = (endpoint) => new Decision("endpoint", endpoint);
/** Leaves it to the built-in policy. */
export const fallback = () => new Decision("fallback");
/** Answers with this HTTP status, 400 to 599, where the policy object allows it. */
export const reject = (status) => new Decision("reject", status);
/** Asks to be asked again in so many milliseconds, at most 1000, where the policy object allows it. */
export const hold = (ms) => new Decision("hold", ms);

/** Live load of endpoints; see policy.wit. */
export const stats = {
  inFlight: (endpoint) => hostStats.inFlight(endpoint) >>> 0,
  totalInFlight: () => hostStats.totalInFlight() >>> 0,
  latencyUs: (endpoint) => hostStats.latencyUs(endpoint) >>> 0,
  failureRate: (endpoint) => hostStats.failureRate(endpoint) >>> 0,
  available: (endpoint) => hostStats.available(endpoint),
  reported: (endpoint, want) => hostStats.reported(endpoint, want) >>> 0,
  peers: () => hostStats.peers() >>> 0,
};

/** What there is to read of the request that is being picked for; see policy.wit. */
export const requestInfo = {
  /** The `string:` word at this index of the plan's wants; null if the request has none. */
  text: (want) => hostRequestInfo.text(want) ?? null,
  /** The prefix of the body that the `body:` word asked for: a Uint8Array. */
  body: () => hostRequestInfo.body(),
  deadlineMs: () => hostRequestInfo.deadlineMs() >>> 0,
};

/** Lines for whoever runs the policy. One costs more than a pick: not for each request. */
export const log = {
  error: (line) => hostLog.write("error", wellFormed(line)),
  warn: (line) => hostLog.write("warn", wellFormed(line)),
  info: (line) => hostLog.write("info", wellFormed(line)),
  debug: (line) => hostLog.write("debug", wellFormed(line)),
};

/** For policies that have nothing to configure. */
export function noConfig(config) {
  if (Object.keys(config).length > 0) throw "config: there is nothing to configure, so it must be {}";
}

/** Maps 64 random bits to a number below `bound`, by multiplication instead of division (Lemire, 2019). */
export const below = (random, bound) => Number((random * BigInt(bound)) >> 64n);

const U64 = (number) => BigInt.asUintN(64, number);

/** Another random number from one: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), a bijection. */
export function mix(random) {
  let z = U64(random + 0x9e3779b97f4a7c15n);
  z = U64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = U64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

/** What is to be UTF-8: halves of characters, which strings of JavaScript may have, are replaced. */
const wellFormed = (text) => String(text).toWellFormed();

/**
 * For one request it is asked of so many endpoints whether they are available, at most, beside those that are chosen: an
 * interpreter takes some seven thousand instructions for each, and a pick has a million.
 */
const MOST_LOOKS = 48;

/** Steps of the golden ratio spread evenly, and keep step with no pattern in a list. */
const GOLDEN = 0.6180339887498949;

/** How far it is from one member of a sample to the next. No common divisor with the length, so that none comes twice. */
function strideOf(length) {
  let stride = Math.round(length * GOLDEN);
  while (commonDivisor(stride, length) > 1) stride++;
  return stride;
}

function commonDivisor(a, b) {
  while (b > 0) {
    const rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/**
 * Who of the members is available, for this request: all of them, if that many looks are left, else two thirds of as many as
 * are, spread over the list. Here every line costs.
 */
function look({ indexes, stride }, request) {
  const { available } = hostStats;
  const { length } = indexes;
  const isWhole = length <= request.looks;
  const most = isWhole ? length : Math.ceil((request.looks * 2) / 3);
  const first = isWhole ? 0 : request.randomLow % length;
  const by = isWhole ? 1 : stride;
  const up = [];
  let down = 0;
  for (let left = most, at = first; left > 0; left--, at = (at + by) % length) {
    const isUp = available(indexes[at]);
    up.push(isUp);
    if (!isUp) down++;
  }
  request.looks -= most;
  return { serial: request.serial, isWhole, first, by, up, isPanicking: down * 2 > most };
}

/** Some of the endpoints, numbered by position; an index is a place in the whole list. */
export class Members {
  /** By position. */
  indexes = [];
  /** By position, at least 1. */
  weights = [];
  /** Whether weights differ. */
  uneven = false;
  /** See `strideOf`. */
  stride = 1;
  /** What has been seen of them for the last request that there was a need for. */
  seen = { serial: -1 };

  get length() {
    return this.indexes.length;
  }
  add(endpoint, index) {
    this.indexes.push(index);
    this.weights.push(Math.max(endpoint.weight, 1));
    this.uneven ||= this.weights.at(-1) !== this.weights[0];
  }
  /** Whether this request should go there: not ejected, full or gone, and not where it has just failed. */
  isUsable(position, request) {
    return this.isPossible(position, request) && hostStats.available(this.indexes[position]);
  }
  /** Whether this request may go there if need be: not where it has just failed. */
  isPossible(position, request) {
    return request.avoid !== this.indexes[position];
  }
  /**
   * Whether more than half are not available; of many, of those that are looked at. Then the trouble is likely elsewhere, and
   * sending everything to the few that are left would only bring these down too.
   */
  isPanicking(request) {
    return this.look(request).isPanicking;
  }
  /** Whether nobody is usable; of many, none of those that are looked at. */
  isOut(request) {
    // Mostly the first one is.
    return !this.isUsable(request.randomLow % this.length, request) && this.usableFrom(0, request) < 0;
  }
  /**
   * The first usable member from `start` on, round the list; -1 if there is none. Of many, one of those that are looked at,
   * which begin anywhere.
   */
  usableFrom(start, request) {
    const { isWhole, first, by, up } = this.look(request);
    for (;;) {
      let step = isWhole ? up.indexOf(true, start) : -1;
      if (step < 0) step = up.indexOf(true);
      if (step < 0) return -1;
      const position = (first + step * by) % this.length;
      if (this.isPossible(position, request)) return position;
      up[step] = false;
    }
  }
  /** The first from `start` on that the request may go to if need be; -1 if there is none. */
  possibleFrom(start, request) {
    if (this.isPossible(start, request)) return start;
    const next = (start + 1) % this.length;
    return this.isPossible(next, request) ? next : -1;
  }
  look(request) {
    if (this.seen.serial !== request.serial) this.seen = look(this, request);
    return this.seen;
  }
  randomPosition(request) {
    return below(mix(request.random), this.length);
  }
}

/** Why an endpoint was chosen by `Levels`: indexes into `REASONS`. */
export const CHOSEN = 0;
export const STAND_IN = 1;
export const LAST_RESORT = 2;
/** Names for what `Levels` decides, for `plan.reasons`. */
export const REASONS = ["chosen", "stand-in", "last-resort"];

/**
 * Choosers by ascending priority. They do by the rules of the built-in policies what most policies share: priorities, and
 * somebody else when the chosen endpoint cannot take the request.
 *
 * `chooser(members, endpoints)` makes one for the endpoints of a priority, which are never none: a function of the request
 * that returns a position. If that member is not usable, it is replaced. With `keep`, only those endpoints take part for which
 * that is true.
 */
export class Levels {
  constructor(endpoints, chooser, keep = () => true) {
    const byPriority = new Map();
    endpoints.forEach((endpoint, index) => {
      if (!keep(endpoint)) return;
      if (!byPriority.has(endpoint.priority)) byPriority.set(endpoint.priority, new Members());
      byPriority.get(endpoint.priority).add(endpoint, index);
    });
    for (const members of byPriority.values()) {
      if (members.length > MOST_LOOKS) members.stride = strideOf(members.length);
    }
    this.levels = [...byPriority.entries()]
      .sort(([a], [b]) => a - b)
      .map(([, members]) => ({ members, choose: chooser(members, endpoints) }));
  }

  /**
   * Who takes the request, and why; the built-in policy if there is nobody but the one to avoid. While more than half of a
   * priority are ejected, that is disregarded. Of more than 48 endpoints, some that are taken by chance stand for all.
   */
  pick(request) {
    const decision = this.pickByPriority(request, true);
    if (decision !== null) return decision;
    for (const { members } of this.levels) {
      const position = members.possibleFrom(members.randomPosition(request), request);
      if (position >= 0) return to(members.indexes[position]).because(LAST_RESORT);
    }
    return fallback();
  }

  /** The same, but only ever somebody who is usable, or null: for when there are others to turn to. */
  pickUsable(request) {
    return this.pickByPriority(request, false);
  }

  pickByPriority(request, mayPanic) {
    for (const level of this.levels) {
      // A priority that nobody is left of is passed over unpicked: it must not use up turns, and choosing costs.
      if (this.levels.length > 1 && level.members.isOut(request)) continue;
      const decision = pickOf(level, request, mayPanic);
      if (decision !== null) return decision;
    }
    return null;
  }
}

function pickOf({ members, choose }, request, mayPanic) {
  let position = choose(request);
  let reason = CHOSEN;
  const isTaken = () => mayPanic && members.isPossible(position, request) && members.isPanicking(request);
  if (!members.isUsable(position, request) && !isTaken()) {
    // From a random one on, so that it is not the same neighbour who inherits all of the traffic.
    position = members.usableFrom(members.randomPosition(request), request);
    reason = STAND_IN;
  }
  return position < 0 ? null : to(members.indexes[position]).because(reason);
}

/** Two halves of 64 bits. */
function joined(low, high) {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** What is thrown has to reach the host as a string. */
function orRefuse(task) {
  try {
    return task();
  } catch (error) {
    throw wellFormed(typeof error === "string" ? error : (error?.message ?? error));
  }
}
