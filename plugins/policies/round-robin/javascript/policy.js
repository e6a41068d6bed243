// Each endpoint in turn; with uneven weights, each in as many turns as its weight says. Picks what the built-in round robin
// picks.
//
// Uneven weights are served by the static stride scheduler of gRPC's weighted_round_robin (gRFC A58): a cursor walks over the
// endpoints again and again, and one sits out the rounds that its weight does not entitle it to.
import { Levels, REASONS, definePolicy, noConfig } from "../../../sdk/javascript/index.js";

/** The heaviest endpoint's weight after scaling; it takes part in every round. */
const MAX_WEIGHT = 65535;

/** Endpoints begin their rounds at different phases, so that light ones do not all come in the same round. */
const PHASE = (MAX_WEIGHT - 1) / 2;

class RoundRobin {
  plan = { reasons: REASONS };
  levels = new Levels([], () => {});
  cursor = null;

  update({ endpoints }) {
    this.levels = new Levels(endpoints, (members) => {
      const weights = scaled(members);
      return () => this.next(members.length, weights);
    });
  }

  pick(request) {
    // At a random place: else every proxy would begin with the same endpoint.
    this.cursor ??= request.random;
    return this.levels.pick(request);
  }

  /** Whose turn it is. Skips fewer than there are, because the heaviest never sits out. */
  next(count, weights) {
    for (;;) {
      const turn = this.cursor;
      this.cursor = BigInt.asUintN(64, turn + 1n);
      const position = Number(turn % BigInt(count));
      if (weights === null) return position;
      const weight = weights[position];
      const round = Number((turn / BigInt(count)) % BigInt(MAX_WEIGHT));
      // At most 2^33 and some: well within what a double keeps.
      if ((weight * round + PHASE * position) % MAX_WEIGHT >= MAX_WEIGHT - weight) return position;
    }
  }
}

/** Weights scaled so that the largest is MAX_WEIGHT; null if all are the same. */
function scaled({ weights, uneven }) {
  if (!uneven) return null;
  const largest = Math.max(...weights);
  // Up to 2^48: a double keeps that. At least 1: whoever has any weight at all has its turn some time.
  return weights.map((weight) =>
    Math.max(Math.floor((weight * MAX_WEIGHT + Math.floor(largest / 2)) / largest), 1),
  );
}

export const policy = definePolicy((config) => {
  noConfig(config);
  return new RoundRobin();
});
