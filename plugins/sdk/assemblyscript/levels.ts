import { Members } from "./members";
import { Decision, Endpoint, Request, fallback, to } from "./policy";

/** Why an endpoint was chosen by `Levels`: indexes into `reasons()`. */
export enum Reason {
  Chosen,
  StandIn,
  LastResort,
}

/** Names for what `Levels` decides, for `Plan.reasons`. */
export function reasons(): string[] {
  return ["chosen", "stand-in", "last-resort"];
}

/** Chooses among the endpoints of one priority, which are never none. */
export abstract class Chooser {
  /** The position of a member that is usable (`Members.isUsable` knows), or `~position` of one it would have chosen, but which is not. */
  abstract choose(members: Members, request: Request): i32;
}

class Level {
  members: Members = new Members();
  constructor(public priority: u32, public chooser: Chooser | null) {}

  pick(request: Request, mayPanic: bool): Decision | null {
    const members = this.members;
    let position = this.chooser!.choose(members, request), reason = Reason.Chosen;
    if (position < 0) {
      position = ~position;
      if (!mayPanic || !members.isPossible(position, request) || !members.isPanicking()) {
        // From a random one on, so that it is not the same neighbour who inherits all of the traffic.
        position = members.usableFrom(members.randomPosition(request), request);
        reason = Reason.StandIn;
      }
    }
    return position < 0 ? null : to(unchecked(members.indexes[position])).because(reason);
  }
}

/**
 * Choosers by ascending priority. They do by the rules of the built-in policies what most policies share: priorities, and
 * somebody else when the chosen endpoint cannot take the request.
 */
export class Levels {
  private levels: Level[] = [];

  /** A chooser for the endpoints of each priority, or for those of them that `keep` says. */
  constructor(
    endpoints: Endpoint[],
    chooser: (members: Members, endpoints: Endpoint[]) => Chooser,
    keep: (endpoint: Endpoint) => bool = (endpoint) => true,
  ) {
    for (let i = 0; i < endpoints.length; i++) {
      if (keep(endpoints[i])) this.level(endpoints[i].priority).members.add(endpoints[i], i);
    }
    this.levels.sort((a, b) => (a.priority < b.priority ? -1 : i32(a.priority > b.priority)));
    for (let i = 0; i < this.levels.length; i++) this.levels[i].chooser = chooser(this.levels[i].members, endpoints);
  }

  private level(priority: u32): Level {
    for (let i = 0; i < this.levels.length; i++) {
      if (this.levels[i].priority == priority) return this.levels[i];
    }
    this.levels.push(new Level(priority, null));
    return this.levels[this.levels.length - 1];
  }

  /**
   * Who takes the request, and why; the built-in policy if there is nobody but the one to avoid. While more than half of a
   * priority are ejected, that is disregarded.
   */
  pick(request: Request): Decision {
    const count = this.levels.length;
    for (let i = 0; i < count; i++) {
      const level = unchecked(this.levels[i]);
      // A priority that nobody is left of is passed over unpicked: it must not use up turns.
      if (count > 1 && level.members.usableFrom(0, request) < 0) continue;
      const decision = level.pick(request, true);
      if (decision !== null) return decision;
    }
    for (let i = 0; i < count; i++) {
      const members = this.levels[i].members;
      const position = members.possibleFrom(members.randomPosition(request), request);
      if (position >= 0) return to(members.indexes[position]).because(Reason.LastResort);
    }
    return fallback();
  }

  /** The same, but only ever somebody who is usable, or null: for when there are others to turn to. */
  pickUsable(request: Request): Decision | null {
    for (let i = 0; i < this.levels.length; i++) {
      const decision = this.levels[i].pick(request, false);
      if (decision !== null) return decision;
    }
    return null;
  }
}
