// Of two endpoints chosen by chance, the one with fewer requests under way.
import {
  Chooser, Decision, Levels, Members, Policy, Request, Update, below, inFlight, mix, noConfig, reasons, register,
} from "./sdk/assemblyscript";

class LessLoaded extends Policy {
  /** Priorities, and somebody else when the chosen endpoint cannot take the request. */
  levels: Levels = new Levels([], (members) => new OfTwo());

  update(update: Update): void {
    this.levels = new Levels(update.endpoints, (members) => new OfTwo());
  }

  pick(request: Request): Decision {
    return this.levels.pick(request);
  }
}

class OfTwo extends Chooser {
  choose(members: Members, request: Request): i32 {
    const one = i32(below(request.random, members.length));
    const other = i32(below(mix(request.random), members.length));
    const chosen = inFlight(members.indexes[other]) < inFlight(members.indexes[one]) ? other : one;
    return members.isUsable(chosen, request) ? chosen : ~chosen;
  }
}

register((config, about) => {
  noConfig(config);
  const policy = new LessLoaded();
  policy.plan.reasons = reasons();
  return policy;
});
