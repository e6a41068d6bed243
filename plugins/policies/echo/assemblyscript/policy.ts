// Hands back what it is given, for the tests of the host: what is to be answered says the request's header x-say.
import {
  Decision, Policy, Request, Update, body, deadlineMs, fallback, hold, logWarn, refuse, register, reject, reported, text, to,
} from "../../../sdk/assemblyscript";
import { onCompleted } from "../../../sdk/assemblyscript/feedback";

// Text that is no UTF-8: it has to reach the host with U+FFFD in it.
const BROKEN = "broken " + String.fromCharCode(0xd800);

// How the last request ended.
let lastStatus: u32 = 0;
let lastOutcome: u32 = 0;
let lastTag: u64 = 0;

class Echo extends Policy {
  names: string[] = [];

  update(update: Update): void {
    this.names = [];
    for (let i = 0; i < update.endpoints.length; i++) {
      const name = update.endpoints[i].label("name");
      if (name == "refuse") refuse(BROKEN);
      this.names.push(name);
    }
  }

  pick(request: Request): Decision {
    const say = text(0);
    if (say === null) return fallback();
    if (say == "reject") return reject(418);
    if (say == "hold") return hold(7);
    if (say == "log") {
      logWarn(BROKEN);
      return fallback();
    }
    if (say == "key") return to(0).tagged(request.key3);
    if (say == "body") {
      const given = body(), length = given.length;
      return length == 0 ? fallback() : to(0).tagged(u64(length * 256 + given.charCodeAt(length - 1)));
    }
    if (say == "reported") return to(0).tagged(reported(1, 2));
    if (say == "deadline") return to(0).tagged(deadlineMs());
    if (say == "completed") return to(lastStatus).because(lastOutcome).tagged(lastTag);
    const at = this.names.indexOf(say);
    return at < 0 ? fallback() : to(at).because(1).or(at + 1);
  }
}

onCompleted((report) => {
  lastStatus = report.status;
  lastOutcome = report.outcome;
  lastTag = report.tag;
});

register((config, about) => {
  const policy = new Echo();
  if (config.includes("refuse")) refuse(BROKEN);
  policy.plan.keys = ["header:x-first", "header:x-second", "header:x-third", "header:x-fourth"];
  policy.plan.wants = ["string:header:x-say", "body:65536", "report:queue"];
  policy.plan.reasons = ["none", "said"];
  return policy;
});
