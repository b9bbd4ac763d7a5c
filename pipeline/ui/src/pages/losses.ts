// What was not reported, and why, out of a status answer.

import { at, fields, numbers, text } from "../api/decode";

export interface Loss {
  where: string;
  reason: string;
  count: number;
  /** What it means, and what to do. */
  meaning: string;
  /** Traffic is missing from the numbers because of it; else it was of no interest, or is accounted for elsewhere. */
  matters: boolean;
}

const KERNEL: Record<string, [string, boolean]> = {
  refused_full: ["The ring was full: the agent did not read fast enough. A larger probe.ring_bytes helps, or a larger governor.cpu.", true],
  no_storage: ["The kernel had no memory for the state of a connection.", true],
  evicted: ["The table of connections was full; others pushed these out.", true],
  slot_lost: ["Slots of closed connections were taken over before they were read.", true],
  unreadable: ["User memory could not be read at that moment.", true],
  skipped_runs: ["The kernel skipped runs of the programs.", true],
  sampled_turns: ["Turns of connections that sampling leaves out; the counts are scaled up for them.", false],
  not_selected: ["Operations of sockets that the filters exclude.", false],
  muted: ["Operations of connections of no interest: protocols that are not known, or are encrypted.", false],
};

const EXCHANGES: Record<string, string> = {
  missed: "Requests whose record the kernel could not give.",
  dropped: "Requests that were not followed, because a bound was reached.",
  lost: "Requests lost with a stage that failed and was started again.",
};

/** By stage and reason: what is no loss. */
const HARMLESS = new Set(["foreign", "nothing_new", "after_close", "handed_over", "muted", "excluded", "unidentified", "stale"]);

export function losses(status: unknown): Loss[] {
  const found: Loss[] = [];
  for (const [reason, count] of numbers(at(status, "conservation", "exchanges"))) {
    const meaning = EXCHANGES[reason];
    if (count > 0 && meaning !== undefined) found.push({ where: "requests", reason, count, meaning, matters: true });
  }
  for (const [reason, count] of numbers(at(status, "kernel"))) {
    const known = KERNEL[reason];
    if (count > 0 && known) found.push({ where: "kernel", reason, count, meaning: known[0], matters: known[1] });
  }
  const shards = at(status, "shards");
  const rejected = new Map<string, Loss>();
  for (const shard of Array.isArray(shards) ? shards : []) {
    const stages = at(shard, "stages");
    for (const stage of Array.isArray(stages) ? stages : []) {
      const where = text(at(stage, "stage"));
      for (const [reason, count] of numbers(at(stage, "rejected"))) {
        if (count === 0) continue;
        const key = `${where} ${reason}`;
        const sum = (rejected.get(key)?.count ?? 0) + count;
        rejected.set(key, { where, reason, count: sum, meaning: "Records that this stage did not pass on.", matters: !HARMLESS.has(reason) });
      }
    }
  }
  found.push(...rejected.values());
  return found.sort((a, b) => Number(b.matters) - Number(a.matters) || b.count - a.count);
}

/** `refused_full` is "refused full". */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

export interface Exporter {
  name: string;
  gathered: number;
  delivered: number;
  pending: number;
  undelivered: [string, number][];
  retries: number;
}

export function exporters(status: unknown): Exporter[] {
  const all = at(status, "exporters");
  return (Array.isArray(all) ? all : []).map((one) => {
    const of = Object.fromEntries(numbers(one));
    return {
      name: text(fields(one).exporter ?? fields(one).name),
      gathered: of.gathered ?? 0,
      delivered: of.delivered ?? 0,
      pending: of.pending ?? 0,
      undelivered: numbers(at(one, "undelivered")).filter(([, count]) => count > 0),
      retries: of.retries ?? 0,
    };
  });
}
