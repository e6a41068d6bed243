// What the host offers.

// @ts-ignore: decorator
@external("wasmesh:policy/stats@0.1.0", "in-flight")
/** How many requests are under way to the endpoint. */
export declare function inFlight(endpoint: u32): u32;

// @ts-ignore: decorator
@external("wasmesh:policy/stats@0.1.0", "total-in-flight")
/** How many are under way to all endpoints of the list. */
export declare function totalInFlight(): u32;

// @ts-ignore: decorator
@external("wasmesh:policy/stats@0.1.0", "latency-us")
/** Time to response headers as a peak EWMA in microseconds, 0 while there is no sample. */
export declare function latencyUs(endpoint: u32): u32;

// @ts-ignore: decorator
@external("wasmesh:policy/stats@0.1.0", "failure-rate")
/** How many of 1000 recent requests failed. */
export declare function failureRate(endpoint: u32): u32;

// @ts-ignore: decorator
@external("wasmesh:policy/stats@0.1.0", "available")
/** False while the endpoint is ejected for failing, full, or gone. */
export declare function available(endpoint: u32): bool;

// @ts-ignore: decorator
@external("wasmesh:policy/stats@0.1.0", "reported")
/** What the endpoint said of itself last: the `report:` word at this index of the plan's wants, in thousandths. */
export declare function reported(endpoint: u32, want: u32): u32;

// @ts-ignore: decorator
@external("wasmesh:policy/stats@0.1.0", "peers")
/** How many proxies balance over the same endpoints, this one included. */
export declare function peers(): u32;

// @ts-ignore: decorator
@external("wasmesh:policy/request-info@0.1.0", "deadline-ms")
/** How many milliseconds are left for this request, NOTHING if nothing limits it. */
export declare function deadlineMs(): u32;

// @ts-ignore: decorator
@external("wasmesh:policy/request-info@0.1.0", "text")
declare function hostText(want: u32, result: usize): void;

// @ts-ignore: decorator
@external("wasmesh:policy/request-info@0.1.0", "body")
declare function hostBody(result: usize): void;

// @ts-ignore: decorator
@external("wasmesh:policy/log@0.1.0", "write")
declare function hostLog(level: u32, line: usize, size: usize): void;

/** What functions that ask for a number answer where there is none. */
export const NOTHING: u32 = 0xffffffff;

/**
 * The `string:` word at this index of the plan's wants, of the request that is being picked for; null if it has none. It
 * costs more than most picks, and allocates.
 */
export function text(want: u32): string | null {
  const result = memory.data(12, 4);
  hostText(want, result);
  return load<u32>(result) == 0 ? null : takeString(result + 4);
}

/** The prefix of the body that the `body:` word of the plan's wants asked for, as text. */
export function body(): string {
  const result = memory.data(8, 4);
  hostBody(result);
  return takeString(result);
}

/** Something is broken and somebody should act. */
export function logError(line: string): void { log(0, line); }
/** Something is odd. */
export function logWarn(line: string): void { log(1, line); }
/** Worth knowing once. A line costs more than a pick: not for each request. */
export function logInfo(line: string): void { log(2, line); }
/** For the policy's author; proxies drop it unless told otherwise. */
export function logDebug(line: string): void { log(3, line); }

function log(level: u32, line: string): void {
  const bytes = utf8(line);
  hostLog(level, changetype<usize>(bytes), bytes.byteLength);
}

/** For abi.ts: as the host takes strings. Halves of characters, which strings may have here, are replaced. */
export function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE);
}

/** For abi.ts: the string whose place and length stand at `at`. The host has allocated it for us. */
export function takeString(at: usize): string {
  const from = load<usize>(at), size = load<usize>(at, 4);
  if (size == 0) return "";
  const found = String.UTF8.decodeUnsafe(from, size);
  heap.free(from);
  return found;
}
