/** What is measured, how it is judged, and the one line that is said of it. */

/** `ratio` is ours divided by the peer's; `ours` is in the measure's own unit. */
export interface Goal {
  readonly of: 'ratio' | 'ours';
  readonly is: 'at least' | 'at most';
  readonly value: number;
}

export interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly goal: Goal;
  /** Who did the same work; undefined where nobody does it. */
  readonly peerName?: string;
}

export interface Sample {
  readonly ours: number;
  readonly peer?: number;
}

/** How much work a round is. */
export interface Scale {
  /** One round of a size that shows that the bench still runs; its numbers mean nothing. */
  readonly isQuick: boolean;
  /** Swapped from round to round, so that neither always finds the machine as the other has left it. */
  readonly isPeerFirst: boolean;
  /** One folder for all rounds of a bench, empty before its first; removed after its last. */
  readonly folder: string;
}

/** One piece of work that gives one or several measures. Every process of a round is started for it. */
export interface Bench {
  readonly measures: readonly Measure[];
  /** Takes so long that it is done only when one of its measures is asked for by name. */
  readonly isOnDemand?: boolean;
  /** Makes what all rounds share, in `scale.folder`, where making it takes longer than measuring. */
  prepare?(scale: Pick<Scale, 'isQuick' | 'folder'>): Promise<void>;
  /** By measure name. */
  round(scale: Scale): Promise<Readonly<Record<string, Sample>>>;
}

/** How busy the machine was before the rounds; the most of them. */
export interface Quietness {
  /** The load average of the last minute. Rounds that went before are in it. */
  readonly load: number;
  /** Cores that others kept busy while the bench stood still. */
  readonly busyCores: number;
}

export interface Line extends Quietness {
  readonly bench: string;
  readonly ours: number;
  readonly peer: number | null;
  readonly peerName: string | null;
  readonly ratio: number | null;
  readonly goal: string;
  readonly unit: string;
  readonly met: boolean;
  readonly rounds: number;
}

export function judge(measure: Measure, samples: readonly Sample[], quietness: Quietness): Line {
  const { name, unit, goal, peerName } = measure;
  const ours = median(samples.map((sample) => sample.ours));
  const peers = samples.flatMap(({ peer }) => (peer === undefined ? [] : [peer]));
  const peer = peers.length === 0 ? null : median(peers);
  const ratio = peer === null ? null : ours / peer;
  const reached = goal.of === 'ratio' ? ratio : ours;
  if (reached === null) throw new Error(`${name} is judged by a peer that was not measured`);
  return {
    bench: name,
    ours: rounded(ours),
    peer: peer === null ? null : rounded(peer),
    peerName: peerName ?? null,
    ratio: ratio === null ? null : rounded(ratio),
    goal: `${goal.of} ${goal.is === 'at least' ? '>=' : '<='} ${goal.value}`,
    unit,
    met: goal.is === 'at least' ? reached >= goal.value : reached <= goal.value,
    rounds: samples.length,
    ...quietness,
  };
}

/** Of an even number of values the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  if (low === undefined || high === undefined) throw new Error('there is no median of nothing');
  return (low + high) / 2;
}

/** Four digits: more would be noise that looks like knowledge. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

/** Does the two halves of a round one after the other, in the order of the round. */
export async function alternately<Ours, Peer = Ours>(
  { isPeerFirst }: Scale,
  halves: { ours(): Promise<Ours>; peer(): Promise<Peer> },
): Promise<{ readonly ours: Ours; readonly peer: Peer }> {
  if (!isPeerFirst) return { ours: await halves.ours(), peer: await halves.peer() };
  const peer = await halves.peer();
  return { ours: await halves.ours(), peer };
}
