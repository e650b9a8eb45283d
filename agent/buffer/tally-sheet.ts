import type { Deliveries, Tally } from './deliveries.ts';

/**
 * What one transaction adds, counted in memory and written once at its end, before it commits: a row of counts for each
 * record would cost as much as the record. Made for a transaction and dropped with it, so that what is rolled back was
 * never counted.
 */
export class TallySheet {
  readonly #tallies = new Map<string, { -readonly [Key in keyof Tally]: Tally[Key] }>();

  /** A delivery that `Deliveries.add` has made. */
  added(source: number, { producer, lane, state, bytes }: Pick<Tally, 'producer' | 'lane' | 'state' | 'bytes'>): void {
    const key = `${producer}/${source}/${lane}/${state}`;
    const tally = this.#tallies.get(key);
    if (!tally) {
      this.#tallies.set(key, { producer, source, lane, state, n: 1, bytes });
      return;
    }
    tally.n++;
    tally.bytes += bytes;
  }

  write(deliveries: Deliveries): void {
    for (const tally of this.#tallies.values()) deliveries.count(tally);
  }
}
