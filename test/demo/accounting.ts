/**
 * The books of the demo: what the peers offered, what came out of the parcels, and what the agent itself says, held
 * against each other.
 *
 * ```
 * offered     = delivered + held + refused + quarantined + duplicate + deferred
 * offered       one for each message in a sender's queue and each thing a peer holds; the same one twice counts twice
 * delivered     arrived in a parcel exactly once, as it was sent; also when it was retracted afterwards
 * held          stays in the hospital, encrypted, until the patient's notice covers it
 * refused       of a patient who has said no: not taken, or destroyed before it had left
 * quarantined   set aside for a person: it does not say whose it is
 * duplicate     every offer of the same record after the first
 * deferred      not even read from the peer: its patient may not be provided yet
 * ```
 * A sender that repeats a message because its answer was lost still has one message in its queue, so that counts once.
 */
export const kinds = ['hl7v2', 'ssmix2', 'fhir', 'dicom'] as const;
export type Kind = (typeof kinds)[number];

/** What must become of a record, by the register and not by what the agent said. */
export type Fate = 'delivered' | 'held' | 'refused' | 'quarantined' | 'deferred';

export interface Offered {
  readonly kind: Kind;
  /** Name of the source in the configuration. */
  readonly source: string;
  /** Whose it is, as the cast is numbered; '' when it names nobody. */
  readonly patientId: string;
  /** Hex, of the bytes as the peer sent them. */
  readonly sha256: string;
  readonly fate: Fate;
  /** The agent asks before it reads, and did not: it has no number of its own for it. */
  readonly isUnread?: true;
}

/** One payload in one parcel, as the public tools took it out. */
export interface Arrived {
  readonly source: string;
  readonly sha256: string;
}

export interface Evidence {
  readonly offered: readonly Offered[];
  readonly arrived: readonly Arrived[];
  /** By the agent's own status. `unsettled`: ready, packed, expired or rejected. */
  readonly agent: Readonly<Record<'delivered' | 'held' | 'refused' | 'quarantined' | 'unsettled', number>>;
  /** Planted names and numbers found in the clear where none may be. */
  readonly canaries: number;
  /** Records the producer has marked as retracted, and how many it had to. */
  readonly retracted: { readonly found: number; readonly wanted: number };
  readonly receipts: number;
  readonly ledgerOk: boolean;
  readonly seconds: number;
}

type PerKind = Readonly<Record<Kind, number>>;

/** The last line of `--json`. */
export interface DemoResult {
  readonly offered: PerKind;
  readonly delivered: PerKind;
  readonly held: number;
  readonly refused: number;
  readonly quarantined: number;
  readonly duplicate: number;
  readonly deferred: number;
  readonly mismatched: number;
  readonly leaked: number;
  readonly retracted: number;
  readonly receipts: number;
  readonly ledgerOk: boolean;
  readonly seconds: number;
}

export function account(evidence: Evidence): DemoResult {
  const { offered, retracted, receipts, ledgerOk, seconds } = evidence;
  const records = distinct(offered);
  const arrivals = countBy(evidence.arrived.map(keyOf));
  const delivered = records.filter((record) => record.fate === 'delivered' && arrivals.get(keyOf(record)) === 1);
  const fated = (fate: Fate) => records.filter((record) => record.fate === fate).length;
  return {
    offered: perKind(offered),
    delivered: perKind(delivered),
    held: fated('held'),
    refused: fated('refused'),
    quarantined: fated('quarantined'),
    duplicate: offered.length - records.length,
    deferred: fated('deferred'),
    mismatched: mismatches(evidence, records, arrivals),
    leaked: leaks(records, arrivals) + evidence.canaries,
    retracted: retracted.found,
    receipts,
    ledgerOk,
    seconds,
  };
}

/** 0 only if all is as it must be. */
export function exitCode(result: DemoResult): 0 | 1 {
  const { held, refused, quarantined, duplicate, deferred } = result;
  const outcomes = total(result.delivered) + held + refused + quarantined + duplicate + deferred;
  const isBalanced = total(result.offered) === outcomes && outcomes > 0;
  return isBalanced && result.mismatched === 0 && result.leaked === 0 && result.ledgerOk ? 0 : 1;
}

export function total(counts: PerKind): number {
  return kinds.reduce((sum, kind) => sum + counts[kind], 0);
}

/**
 * Records that should have arrived and did not, or more than once; arrivals nobody sent; and every number of the
 * agent's own that differs from ours.
 */
function mismatches(
  { agent, retracted }: Evidence,
  records: readonly Offered[],
  arrivals: ReadonlyMap<string, number>,
): number {
  const known = new Set(records.map(keyOf));
  const fated = (fate: Fate) => records.filter((record) => record.fate === fate && !record.isUnread);
  const wrong = fated('delivered').filter((record) => arrivals.get(keyOf(record)) !== 1).length;
  const foreign = [...arrivals.keys()].filter((key) => !known.has(key)).length;
  const byAgent = (['delivered', 'held', 'refused', 'quarantined'] as const).map((fate) =>
    Math.abs(agent[fate] - fated(fate).length),
  );
  const disagreements = [...byAgent, agent.unsettled, Math.abs(retracted.found - retracted.wanted)];
  return wrong + foreign + disagreements.reduce((sum, count) => sum + count, 0);
}

/** Records in the producer's hands that the register does not let leave. */
function leaks(records: readonly Offered[], arrivals: ReadonlyMap<string, number>): number {
  return records.filter((record) => record.fate !== 'delivered' && arrivals.has(keyOf(record))).length;
}

/** The first offer of each record. */
export function distinct(offered: readonly Offered[]): Offered[] {
  const first = new Map<string, Offered>();
  for (const each of offered) if (!first.has(keyOf(each))) first.set(keyOf(each), each);
  return [...first.values()];
}

export function keyOf({ source, sha256 }: { readonly source: string; readonly sha256: string }): string {
  return `${source}/${sha256}`;
}

function countBy(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

function perKind(records: readonly Offered[]): PerKind {
  const count = (kind: Kind) => records.filter((record) => record.kind === kind).length;
  return { hl7v2: count('hl7v2'), ssmix2: count('ssmix2'), fhir: count('fhir'), dicom: count('dicom') };
}
