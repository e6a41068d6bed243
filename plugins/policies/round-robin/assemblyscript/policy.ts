// Each endpoint in turn; with uneven weights, each in as many turns as its weight says. Picks what the built-in round robin
// picks.
//
// Uneven weights are served by the static stride scheduler of gRPC's weighted_round_robin (gRFC A58): a cursor walks over the
// endpoints again and again, and one sits out the rounds that its weight does not entitle it to.
import {
  Chooser, Decision, Levels, Members, Policy, Request, Update, noConfig, reasons, register,
} from "../../../sdk/assemblyscript";

/** The heaviest endpoint's weight after scaling; it takes part in every round. */
const MAX_WEIGHT: u64 = 65535;

/** Endpoints begin their rounds at different phases, so that light ones do not all come in the same round. */
const PHASE: u64 = MAX_WEIGHT / 2;

let cursor: u64 = 0;

class RoundRobin extends Policy {
  levels: Levels = new Levels([], (members) => new Turns(members));
  begun: bool = false;

  update(update: Update): void {
    this.levels = new Levels(update.endpoints, (members) => new Turns(members));
  }

  pick(request: Request): Decision {
    if (!this.begun) {
      // At a random place: else every proxy would begin with the same endpoint.
      cursor = request.random;
      this.begun = true;
    }
    return this.levels.pick(request);
  }
}

class Turns extends Chooser {
  /** Scaled so that the largest is MAX_WEIGHT; none if all are the same. */
  weights: u64[] = [];

  constructor(members: Members) {
    super();
    let largest: u64 = 1;
    for (let i = 0; i < members.length; i++) largest = max<u64>(largest, members.weights[i]);
    for (let i = 0; members.uneven && i < members.length; i++) {
      // At least 1: whoever has any weight at all has its turn some time.
      this.weights.push(max<u64>((u64(members.weights[i]) * MAX_WEIGHT + largest / 2) / largest, 1));
    }
  }

  choose(members: Members, request: Request): i32 {
    const position = this.next(members.length);
    return members.isUsable(position, request) ? position : ~position;
  }

  /** Whose turn it is. Skips fewer than there are, because the heaviest never sits out. */
  next(count: u64): i32 {
    while (true) {
      const turn = cursor++;
      const position = turn % count, round = turn / count;
      if (this.weights.length == 0) return i32(position);
      const weight = this.weights[i32(position)];
      if ((weight * (round % MAX_WEIGHT) + PHASE * position) % MAX_WEIGHT >= MAX_WEIGHT - weight) return i32(position);
    }
  }
}

register((config, about) => {
  noConfig(config);
  const policy = new RoundRobin();
  policy.plan.reasons = reasons();
  return policy;
});
