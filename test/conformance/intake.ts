/**
 * The intake that a source meets in tests: it keeps the joint's contract in memory. Records, state, gaps and closes of
 * one offer are there together or not at all; bodies that are streams are read once, and `describe` is called after
 * the last byte. What it decides is the test's to choose.
 */
import { createHash } from 'node:crypto';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { GapNote, Intake, Offer, StateChange } from '../../agent/model/ports.ts';
import type { OfferedRecord, OfferResult, Outcome, PatientName, RecordFacts } from '../../agent/model/record.ts';

export interface TakenRecord {
  /** What identity and digest cover: the body, without the prefix. */
  readonly bytes: Buffer;
  readonly prefix: Buffer;
  readonly facts: RecordFacts;
}

type Wish = ReturnType<Intake['wants']>;

export class TestIntake implements Intake {
  readonly taken: TakenRecord[] = [];
  /** Open gaps by reference. */
  readonly gaps = new Map<string, GapNote['code']>();
  /** Offers that have arrived, committed or not, with the records they held. */
  readonly offers: { readonly records: number; readonly states: number; readonly bytes: number }[] = [];
  outcome: Outcome = 'kept';
  wish: (patient: PatientName, category: RecordFacts['category']) => Wish = () => 'take';
  /** Thrown instead of committing; asked anew for each offer. */
  failure: ((offer: Offer) => Error | undefined) | undefined;
  /** While set, commits wait for it. */
  gate: Promise<void> | undefined;
  /** Every question for a source's memory; what it costs to find nothing new is counted here. */
  lookUps = 0;
  readonly #state = new Map<string, { value: Uint8Array; mark: number }>();
  #changed = Promise.withResolvers<void>();

  async accept(offer: Offer): Promise<readonly OfferResult[]> {
    const read: TakenRecord[] = [];
    for (const record of offer.records) read.push(await readRecord(record));
    this.offers.push({
      records: read.length,
      states: offer.state?.length ?? 0,
      bytes: read.reduce((sum, { bytes }) => sum + bytes.length, 0),
    });
    this.#announce();
    await this.gate;
    const failure = this.failure?.(offer);
    if (failure) throw failure;
    this.#commit(offer, read);
    this.#announce();
    return read.map(({ bytes, facts }) => ({
      outcome: facts.quarantine ? 'quarantined' : this.outcome,
      recordId: createHash('sha256').update(facts.nativeKey).update('\0').update(bytes).digest('hex'),
    }));
  }

  #commit(offer: Offer, read: readonly TakenRecord[]): void {
    this.taken.push(...read);
    for (const { code, reference } of offer.gaps ?? []) {
      if (!this.gaps.has(reference)) this.gaps.set(reference, code);
    }
    for (const reference of offer.closes ?? []) this.gaps.delete(reference);
    for (const change of offer.state ?? []) this.#apply(change);
  }

  #apply({ kind, key, value, mark = 0 }: StateChange): void {
    const name = `${kind}\0${key}`;
    if (value === undefined) this.#state.delete(name);
    else this.#state.set(name, { value: Uint8Array.from(value), mark });
  }

  /** Resolves when this many offers have arrived. */
  async whenOffered(count: number): Promise<void> {
    while (this.offers.length < count) await this.#changed.promise;
  }

  /** Resolves when this many records have been committed. */
  async whenTaken(count: number): Promise<void> {
    while (this.taken.length < count) await this.#changed.promise;
  }

  wants(patient: PatientName, category: RecordFacts['category']): Wish {
    return this.wish(patient, category);
  }

  known(keys: readonly { nativeKey: string; versionKey?: string }[]): ('live' | 'unknown')[] {
    return keys.map(({ nativeKey, versionKey }) => {
      const found = this.taken.some(
        ({ facts }) => facts.nativeKey === nativeKey && (versionKey === undefined || facts.versionKey === versionKey),
      );
      return found ? 'live' : 'unknown';
    });
  }

  state(kind: string, key: string): { value: Uint8Array; mark: number } | undefined {
    this.lookUps++;
    return this.#state.get(`${kind}\0${key}`);
  }

  states(kind: string, { below, limit }: { below: number; limit: number }): { value: Uint8Array; mark: number }[] {
    return [...this.#state]
      .filter(([name, { mark }]) => name.startsWith(`${kind}\0`) && mark < below)
      .map(([, row]) => row)
      .toSorted((a, b) => a.mark - b.mark)
      .slice(0, limit);
  }

  /** A copy of everything remembered, to show that it has not moved. */
  memory(): Record<string, string> {
    const rows = [...this.#state].map(([name, { value, mark }]) => [name, `${mark} ${Buffer.from(value).toString()}`]);
    return Object.fromEntries(rows) as Record<string, string>;
  }

  #announce(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

async function readRecord(record: OfferedRecord): Promise<TakenRecord> {
  const { body, prefix } = record.payload;
  const chunks: Uint8Array[] = [];
  if (body instanceof Uint8Array) chunks.push(body);
  else for await (const chunk of body) chunks.push(Buffer.from(chunk));
  const facts = record.describe();
  return { bytes: Buffer.concat(chunks), prefix: Buffer.from(prefix ?? []), facts };
}

export function bufferFull(): ConnectorError {
  return new ConnectorError('BUFFER_FULL', { reason: 'test' });
}
