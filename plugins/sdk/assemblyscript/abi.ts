// The functions of the contract, as the canonical ABI has them: numbers as they are, everything else through memory.
import { takeString, utf8 } from "./host";
import { About, Endpoint, Label, Policy, Request, Update, registered, takeRefusal } from "./policy";

let policy: Policy | null = null;
const request = new Request();
// What an answer points to must stay until the host has read it.
let kept: ArrayBuffer[] = [];

export function init(config: usize, configSize: usize, about: usize, count: usize): usize {
  const answer = memory.data(28, 8);
  memory.fill(answer, 0, 28);
  const text = configSize == 0 ? "" : String.UTF8.decodeUnsafe(config, configSize);
  if (configSize != 0) heap.free(config);
  const labels = takeLabels(about, count), where: About = new Map<string, string>();
  for (let i = 0; i < labels.length; i++) where.set(labels[i].name, labels[i].value);
  const create = registered();
  if (create === null) return failed(answer, "no policy: call register at the top of a file");
  const made = create(text, where);
  const why = takeRefusal();
  if (why !== null) return failed(answer, why);
  policy = made;
  lendAll(made.plan.keys, answer + 4);
  lendAll(made.plan.wants, answer + 12);
  lendAll(made.plan.reasons, answer + 20);
  return answer;
}

export function update(generation: u64, nowMs: u64, list: usize, count: usize): usize {
  const answer = memory.data(12, 4);
  memory.fill(answer, 0, 12);
  take(generation, nowMs, list, count);
  // Now, when there is a budget for all of it at once.
  __collect();
  const why = takeRefusal();
  return why === null ? answer : failed(answer, why);
}

export function pick(
  key0: u64, key1: u64, key2: u64, key3: u64, random: u64, nowMs: u64, attempt: u32, avoids: u32, avoid: u32, traits: u32,
): usize {
  request.key0 = key0;
  request.key1 = key1;
  request.key2 = key2;
  request.key3 = key3;
  request.random = random;
  request.nowMs = nowMs;
  request.attempt = attempt;
  request.avoid = avoids ? i64(avoid) : -1;
  request.traits = traits;
  const decision = policy!.pick(request), answer = memory.data(32, 8);
  store<u8>(answer, u8(decision.kind));
  store<u32>(answer, decision.value, 4);
  store<u8>(answer, u8(decision.alternate >= 0), 8);
  store<u32>(answer, u32(decision.alternate), 12);
  store<u32>(answer, decision.reason, 16);
  store<u64>(answer, decision.tag, 24);
  return answer;
}

/** The host asks for new memory only. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  if (size == 0) return align;
  const block = heap.alloc(size);
  if (oldSize != 0) {
    memory.copy(block, old, oldSize);
    heap.free(old);
  }
  return block;
}

// In a function of its own, so that nothing of it is in use any more when it is done.
function take(generation: u64, nowMs: u64, list: usize, count: usize): void {
  const update = new Update();
  update.generation = generation;
  update.nowMs = nowMs;
  for (let i: usize = 0; i < count; i++) {
    const at = list + 64 * i, endpoint = new Endpoint();
    endpoint.id = load<u64>(at);
    endpoint.address = takeString(at + 8);
    endpoint.weight = load<u32>(at, 16);
    endpoint.priority = load<u32>(at, 20);
    endpoint.zone = takeString(at + 24);
    endpoint.node = takeString(at + 32);
    endpoint.health = load<u8>(at, 40);
    endpoint.readyMs = load<u64>(at, 48);
    endpoint.labels = takeLabels(load<usize>(at, 56), load<usize>(at, 60));
    update.endpoints.push(endpoint);
  }
  if (count != 0) heap.free(list);
  policy!.update(update);
}

function takeLabels(list: usize, count: usize): Label[] {
  const labels: Label[] = [];
  for (let i: usize = 0; i < count; i++) {
    const label = new Label();
    label.name = takeString(list + 16 * i);
    label.value = takeString(list + 16 * i + 8);
    labels.push(label);
  }
  if (count != 0) heap.free(list);
  return labels;
}

function failed(answer: usize, why: string): usize {
  store<u8>(answer, 1);
  lend(why, answer + 4);
  return answer;
}

function lendAll(list: string[], at: usize): void {
  const entries = new ArrayBuffer(8 * list.length);
  kept.push(entries);
  for (let i = 0; i < list.length; i++) lend(list[i], changetype<usize>(entries) + 8 * i);
  store<usize>(at, changetype<usize>(entries));
  store<u32>(at, list.length, 4);
}

function lend(text: string, at: usize): void {
  const bytes = utf8(text);
  kept.push(bytes);
  store<usize>(at, changetype<usize>(bytes));
  store<u32>(at, bytes.byteLength, 4);
}
