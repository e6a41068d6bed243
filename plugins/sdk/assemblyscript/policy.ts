// The contract's types.

/** One instance of a policy. Calls to it never overlap. */
export abstract class Policy {
  /** What the host is to prepare; to be set in the constructor. */
  plan: Plan = new Plan();

  /** Takes the whole list of candidates, at once and then each time it changes; `refuse` rejects it. */
  abstract update(update: Update): void;

  /**
   * Says who takes the request, which is valid for this call only. A pick has a budget of instructions, so it should allocate
   * little: what it allocates pays for a step of the garbage collector.
   */
  abstract pick(request: Request): Decision;
}

/** What the host is to prepare. */
export class Plan {
  /** Words whose hashes come with each request, at most 4. */
  keys: string[] = [];
  /** Whatever else the policy will ask for, at most 16. */
  wants: string[] = [];
  /** Names for `Decision.because`, at most 16. */
  reasons: string[] = [];
}

/** Where the instance works, by name: zone, node, namespace, proxy, worker, workers, service, port. */
export type About = Map<string, string>;

/** Makes the instance: reads the configuration, which is a JSON object; `refuse` rejects it. */
export type Create = (config: string, about: About) => Policy;

let create: Create | null = null;

/** Makes this the policy that the module exports. To be called once, at the top of a file. */
export function register(policy: Create): void {
  create = policy;
}

/** For abi.ts. */
export function registered(): Create | null {
  return create;
}

let refusal: string | null = null;

/** Rejects the configuration, or in `update` the list. The words are shown to whoever wrote it: say what would be right. */
export function refuse(why: string): void {
  refusal = why;
}

/** For abi.ts. */
export function takeRefusal(): string | null {
  const why = refusal;
  refusal = null;
  return why;
}

/** For policies that have nothing to configure. */
export function noConfig(config: string): void {
  let rest = "";
  for (let i = 0; i < config.length; i++) {
    const c = config.charCodeAt(i);
    if (c != 0x20 && c != 0x09 && c != 0x0a && c != 0x0d) rest += String.fromCharCode(c);
  }
  if (rest != "{}") refuse("config: there is nothing to configure, so it must be {}");
}

/** A list of endpoints. A place in it is the endpoint's name in `pick` and in the functions that ask for load. */
export class Update {
  generation: u64 = 0;
  nowMs: u64 = 0;
  endpoints: Endpoint[] = [];
}

/** A name and its value. */
export class Label {
  name: string = "";
  value: string = "";
}

/** What was known of an endpoint when the list was made. */
export enum Health {
  Healthy,
  Degraded,
  Draining,
}

/** One candidate. */
export class Endpoint {
  id: u64 = 0;
  address: string = "";
  weight: u32 = 1;
  priority: u32 = 0;
  zone: string = "";
  node: string = "";
  health: Health = Health.Healthy;
  readyMs: u64 = 0;
  labels: Label[] = [];

  /** The value of a label, "" if there is none of this name. */
  label(name: string): string {
    for (let i = 0; i < this.labels.length; i++) {
      if (this.labels[i].name == name) return this.labels[i].value;
    }
    return "";
  }
}

/** What a pick is for. */
export class Request {
  /** Hashes of what the plan's keys name, 0 where there is nothing. */
  key0: u64 = 0;
  key1: u64 = 0;
  key2: u64 = 0;
  key3: u64 = 0;
  /** 64 random bits, fresh for each pick. */
  random: u64 = 0;
  /** Milliseconds on a monotonic clock. */
  nowMs: u64 = 0;
  /** Counts retries. */
  attempt: u32 = 0;
  /** The endpoint on which this request has just failed, -1 if there is none. */
  avoid: i64 = -1;
  /** As in the contract, from bit 0: key0 to key3, retry, http, grpc, tls. */
  traits: u32 = 0;

  /** Whether the request has what the plan's key of this number names. */
  hasKey(number: u32): bool {
    return number < 4 && ((this.traits >> number) & 1) == 1;
  }
  get isRetry(): bool { return ((this.traits >> 4) & 1) == 1; }
  get isHttp(): bool { return ((this.traits >> 5) & 1) == 1; }
  get isGrpc(): bool { return ((this.traits >> 6) & 1) == 1; }
  get isTls(): bool { return ((this.traits >> 7) & 1) == 1; }
}

/** The answer of a pick. There is only one, so that a pick allocates nothing: `to`, `fallback`, `reject` and `hold` fill it in. */
export class Decision {
  kind: u32 = 0;
  value: u32 = 0;
  alternate: i64 = -1;
  reason: u32 = 0;
  tag: u64 = 0;

  /** Says why: an index into the plan's reasons. */
  because(reason: u32): Decision {
    this.reason = reason;
    return this;
  }

  /** Whom to try next if no connection to the chosen one can be made. */
  or(endpoint: u32): Decision {
    this.alternate = endpoint;
    return this;
  }

  /** Gives it a number that comes back in the report of how the request ended. */
  tagged(tag: u64): Decision {
    this.tag = tag;
    return this;
  }
}

const decision = new Decision();

function decide(kind: u32, value: u32): Decision {
  decision.kind = kind;
  decision.value = value;
  decision.alternate = -1;
  decision.reason = 0;
  decision.tag = 0;
  return decision;
}

/** To the endpoint at this place in the list. */
export function to(endpoint: u32): Decision { return decide(0, endpoint); }

/** Leaves it to the built-in policy. */
export function fallback(): Decision { return decide(1, 0); }

/** Answers with this HTTP status, 400 to 599, where the policy object allows it. */
export function reject(status: u16): Decision { return decide(2, status); }

/** Asks to be asked again in so many milliseconds, at most 1000, where the policy object allows it. */
export function hold(ms: u32): Decision { return decide(3, ms); }
