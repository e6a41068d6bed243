// Hands back what it is given, for the tests of the host: what is to be answered says the request's header x-say.
import {
  defineFeedback, definePolicy, fallback, hold, log, reject, requestInfo, stats, to,
} from "../../../sdk/javascript/index.js";

/** Text that is no UTF-8: it has to reach the host with U+FFFD in it. */
const BROKEN = "broken \ud800";

class Echo {
  plan = {
    keys: ["header:x-first", "header:x-second", "header:x-third", "header:x-fourth"],
    wants: ["string:header:x-say", "body:65536", "report:queue"],
    reasons: ["none", "said"],
  };

  update({ endpoints }) {
    this.names = endpoints.map(({ labels }) => labels.find(({ name }) => name === "name")?.value);
    if (this.names.includes("refuse")) throw BROKEN;
  }

  pick(request) {
    const say = requestInfo.text(0);
    switch (say) {
      case null: return fallback();
      case "reject": return reject(418);
      case "hold": return hold(7);
      case "log": log.warn(BROKEN); return fallback();
      case "key": return to(0).tagged(Number(BigInt.asUintN(53, request.key(3))));
      case "body": {
        const body = requestInfo.body();
        return body.length === 0 ? fallback() : to(0).tagged(body.length * 256 + body.at(-1));
      }
      case "reported": return to(0).tagged(stats.reported(1, 2));
      case "deadline": return to(0).tagged(requestInfo.deadlineMs());
      case "completed": {
        const { status, serverError, streamed, tag } = this.last;
        return to(status).because((serverError ? 2 : 0) + (streamed ? 16 : 0)).tagged(tag);
      }
    }
    const at = this.names.indexOf(say);
    return at < 0 ? fallback() : to(at).because(1).or(at + 1);
  }

  /** Remembers how the last request ended. */
  completed(report) {
    this.last = report;
  }
}

export const policy = definePolicy((config) => {
  if (config.refuse) throw new Error(BROKEN);
  return new Echo();
});
export const feedback = defineFeedback();
