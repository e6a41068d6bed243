import { available } from "./host";
import { Endpoint, Request } from "./policy";
import { below, mix } from "./random";

/** Some of the endpoints, numbered by position; an index is a place in the whole list. */
export class Members {
  /** By position. */
  indexes: u32[] = [];
  /** By position, at least 1. */
  weights: u32[] = [];
  /** Whether weights differ. */
  uneven: bool = false;

  get length(): i32 { return this.indexes.length; }

  add(endpoint: Endpoint, index: u32): void {
    const weight = max<u32>(endpoint.weight, 1);
    this.indexes.push(index);
    this.weights.push(weight);
    this.uneven = this.uneven || weight != this.weights[0];
  }

  /** Whether this request should go there: not ejected, full or gone, and not where it has just failed. */
  isUsable(position: i32, request: Request): bool {
    return this.isPossible(position, request) && available(unchecked(this.indexes[position]));
  }

  /** Whether this request may go there if need be: not where it has just failed. */
  isPossible(position: i32, request: Request): bool {
    return request.avoid != i64(unchecked(this.indexes[position]));
  }

  /**
   * Whether more than half are not available. Then the trouble is likely elsewhere, and sending everything to the few that
   * are left would only bring these down too.
   */
  isPanicking(): bool {
    let ejected = 0;
    for (let i = 0; i < this.length; i++) ejected += i32(!available(this.indexes[i]));
    return ejected * 2 > this.length;
  }

  /** The first usable member from `start` on, round the list; -1 if there is none. */
  usableFrom(start: i32, request: Request): i32 {
    for (let step = 0; step < this.length; step++) {
      const at = (start + step) % this.length;
      if (this.isUsable(at, request)) return at;
    }
    return -1;
  }

  /** The first from `start` on that the request may go to if need be; -1 if there is none. */
  possibleFrom(start: i32, request: Request): i32 {
    for (let step = 0; step < this.length; step++) {
      const at = (start + step) % this.length;
      if (this.isPossible(at, request)) return at;
    }
    return -1;
  }

  randomPosition(request: Request): i32 {
    return i32(below(mix(request.random), this.length));
  }
}
