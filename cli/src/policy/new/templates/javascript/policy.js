// Of two endpoints chosen by chance, the one with fewer requests under way.
import { Levels, REASONS, below, definePolicy, mix, noConfig, stats } from "./sdk/javascript/index.js";

class LessLoaded {
  plan = { reasons: REASONS };

  update({ endpoints }) {
    // Priorities, and somebody else when the chosen endpoint cannot take the request.
    this.levels = new Levels(endpoints, (members) => (request) => ofTwo(members, request));
  }

  pick(request) {
    return this.levels.pick(request);
  }
}

function ofTwo(members, request) {
  const one = below(request.random, members.length);
  const other = below(mix(request.random), members.length);
  const load = (position) => stats.inFlight(members.indexes[position]);
  return load(other) < load(one) ? other : one;
}

export const policy = definePolicy((config) => {
  noConfig(config);
  return new LessLoaded();
});
