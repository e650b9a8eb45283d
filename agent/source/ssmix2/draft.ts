/**
 * What is gathered for one offer: records, and the catalogue rows, deferrals and cursors that cover them. A row is
 * changed in memory as its files are read, and everything is committed together, so the catalogue never says more than
 * what the intake has. When an offer fails the run ends, and its rows with it: the next begins from what is on disk.
 */
import type { GapNote, Intake, StateChange } from '../../model/ports.ts';
import type { OfferedRecord, Outcome, OfferResult } from '../../model/record.ts';
import { DayRow } from './catalogue.ts';

const MiB = 1024 * 1024;

/** One transaction holds so many files: large enough to share an fsync, small enough not to delay an ACK elsewhere. */
export const recordsMax = 200;
export const bytesMax = 4 * MiB;
/** Rows without records: the first look at patients who are not notified yet makes many. */
const rowsMax = 500;

export interface Counts {
  offered: number;
  readonly outcomes: Record<Outcome, number>;
}

export class Draft {
  readonly counts: Counts = { offered: 0, outcomes: { kept: 0, held: 0, refused: 0, quarantined: 0, duplicate: 0 } };
  readonly #intake: Intake;
  readonly #generation: number;
  readonly #rows = new Map<string, DayRow>();
  readonly #states = new Map<string, StateChange>();
  #records: OfferedRecord[] = [];
  #bytes = 0;
  #gaps: GapNote[] = [];
  #closes: string[] = [];

  /** @param generation marks the rows: the run that saw them last change */
  constructor(intake: Intake, generation: number) {
    this.#intake = intake;
    this.#generation = generation;
  }

  /** The remembered files of a folder, as they will be when this draft is committed. */
  row(key: string): DayRow {
    return this.#rows.get(key) ?? new DayRow(this.#intake.state('day', key)?.value);
  }

  /** To be committed with the next offer; harmless for a row without changes. */
  keep(key: string, row: DayRow): void {
    if (row.isChanged) this.#rows.set(key, row);
  }

  add(record: OfferedRecord, byteCount: number): void {
    this.#records.push(record);
    this.#bytes += byteCount;
  }

  state(kind: string, key: string): Uint8Array | undefined {
    const drafted = this.#states.get(`${kind}\0${key}`);
    return drafted ? drafted.value : this.#intake.state(kind, key)?.value;
  }

  remember(change: StateChange): void {
    this.#states.set(`${change.kind}\0${change.key}`, change);
  }

  note(gap: GapNote): void {
    this.#gaps.push(gap);
  }

  close(reference: string): void {
    this.#closes.push(reference);
  }

  get isFull(): boolean {
    const changes = this.#rows.size + this.#states.size;
    return this.#records.length >= recordsMax || this.#bytes >= bytesMax || changes >= rowsMax;
  }

  /**
   * Offers everything gathered.
   *
   * @throws ConnectorError BUFFER_FULL, BUFFER_FAILED - nothing was stored, and this draft is of no more use.
   */
  async commit(): Promise<void> {
    const rows = [...this.#rows].map(([key, row]) => ({
      kind: 'day',
      key,
      value: row.encode(),
      mark: this.#generation,
    }));
    const state = [...rows, ...this.#states.values()];
    if (this.#records.length + state.length + this.#gaps.length + this.#closes.length === 0) return;
    const results = await this.#intake.accept({
      records: this.#records,
      state,
      gaps: this.#gaps,
      closes: this.#closes,
    });
    this.#count(results);
    this.#clear();
  }

  #count(results: readonly OfferResult[]): void {
    this.counts.offered += results.length;
    for (const { outcome } of results) this.counts.outcomes[outcome]++;
  }

  #clear(): void {
    for (const row of this.#rows.values()) row.isChanged = false;
    this.#rows.clear();
    this.#states.clear();
    this.#records = [];
    this.#bytes = 0;
    this.#gaps = [];
    this.#closes = [];
  }
}
