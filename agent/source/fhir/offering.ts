/** From scanned pages to records in the buffer, with what is counted and remembered on the way. */
import type { GapNote, PollTally, Progress, SourceHost, StateChange } from '../../model/ports.ts';
import type { OfferedRecord, OfferResult, RecordFacts } from '../../model/record.ts';
import { type FactsOptions, readFacts } from './facts.ts';
import type { ScannedPage } from './pages.ts';
import type { ScannedEntry } from './scan.ts';

/** What is committed together with a page's records. */
export interface Covering {
  readonly state?: readonly StateChange[];
  readonly gaps?: readonly GapNote[];
  readonly closes?: readonly string[];
}

/** Told of each Patient that is about to be offered; its answer is committed with the record. */
export type Remember = (id: string, facts: RecordFacts) => StateChange | undefined;

export class Offering {
  readonly #host: SourceHost;
  readonly #facts: FactsOptions;
  readonly #progress: Progress;
  readonly #remember: Remember;
  readonly #outcomes = { kept: 0, held: 0, refused: 0, quarantined: 0, duplicate: 0 };
  #offered = 0;

  constructor(host: SourceHost, facts: FactsOptions, progress: Progress, remember: Remember) {
    this.#host = host;
    this.#facts = facts;
    this.#progress = progress;
    this.#remember = remember;
  }

  /** @throws ConnectorError BUFFER_FULL, BUFFER_FAILED - nothing of the page was stored. */
  async offer({ bytes, bundle }: ScannedPage, covering: Covering = {}): Promise<void> {
    const entries = bundle.entries.filter(isData);
    const state = [...(covering.state ?? [])];
    const records = entries.map((entry) => this.#record(bytes, entry, state));
    const results = records.length + state.length === 0 ? [] : await this.#accept({ ...covering, records, state });
    this.#count(results);
  }

  /** State and gaps alone. */
  async note(covering: Covering): Promise<void> {
    await this.#accept({ ...covering, records: [] });
  }

  tally(complete: boolean): PollTally {
    return { offered: this.#offered, outcomes: { ...this.#outcomes }, complete };
  }

  #accept(offer: Covering & { readonly records: readonly OfferedRecord[] }): Promise<readonly OfferResult[]> {
    return this.#host.intake.accept(offer);
  }

  #record(bytes: Buffer, entry: ScannedEntry, state: StateChange[]): OfferedRecord {
    const body = bytes.subarray(entry.start, entry.end);
    if (entry.resourceType !== 'Patient')
      return { payload: { body }, describe: () => readFacts(bytes, entry, this.#facts) };
    const facts = readFacts(bytes, entry, this.#facts);
    const change = entry.id === undefined ? undefined : this.#remember(entry.id, facts);
    if (change) state.push(change);
    return { payload: { body }, describe: () => facts };
  }

  #count(results: readonly OfferResult[]): void {
    for (const { outcome } of results) this.#outcomes[outcome]++;
    this.#offered += results.length;
    this.#progress({ done: this.#offered, unit: 'resources' });
  }
}

/** What the server says about the search is no record of a patient. */
function isData({ mode, resourceType }: ScannedEntry): boolean {
  return mode !== 'outcome' && resourceType !== 'OperationOutcome';
}
