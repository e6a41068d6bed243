// For policies that are told how their requests ended: with `"wasmesh": {"feedback": true}` in package.json this is an entry
// file too, so that the module exports the function, and `onCompleted` says who is called.

/** How one attempt ended. There is only one of these: it is valid for the call only. */
export class Report {
  endpointId: u64 = 0;
  tag: u64 = 0;
  firstByteUs: u32 = 0;
  totalUs: u32 = 0;
  status: u32 = 0;
  /** From bit 0: transport error, server error, timeout, cancelled, streamed. */
  outcome: u32 = 0;
  nowMs: u64 = 0;
}

let handler: ((report: Report) => void) | null = null;
const report = new Report();

/** Makes this function be called with each report. */
export function onCompleted(told: (report: Report) => void): void {
  handler = told;
}

export function completed(
  endpointId: u64, tag: u64, firstByteUs: u32, totalUs: u32, status: u32, outcome: u32, nowMs: u64,
): void {
  report.endpointId = endpointId;
  report.tag = tag;
  report.firstByteUs = firstByteUs;
  report.totalUs = totalUs;
  report.status = status;
  report.outcome = outcome;
  report.nowMs = nowMs;
  const told = handler;
  if (told !== null) told(report);
}
