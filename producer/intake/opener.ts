/**
 * Opens stored parcels in the background, one at a time, and says of each `opened` or `rejected`, once and for ever.
 * Applies retractions to what was opened before.
 *
 * Crash-safe by order: contents are published by one rename, then the receipt and the state are committed together.
 * Contents without a receipt are of a crash in between; they are removed and made again.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ConnectorError, isError, reasonOf } from '../../agent/model/errors.ts';
import type { Clock, Report } from '../../agent/model/ports.ts';
import type { ParcelStatement } from '../../agent/model/wire.ts';
import { parcelSchema } from '../../agent/parcel/manifest.ts';
import { markRetracted } from '../open/contents.ts';
import { type OpenedRetraction, openRetraction, Retracted } from '../open/retracted.ts';
import { openingSuffix, unpack } from '../open/unpack.ts';
import type { ParcelName, ParcelStore } from '../storage/store.ts';
import { type ParcelRow, type Parcels, stuckAttempts } from './parcels.ts';
import { acceptedStatement, type Receipts, type Verdict } from './receipts.ts';
import type { Retractions } from './retractions.ts';

export interface OpenerParts {
  readonly parcels: Parcels;
  readonly receipts: Receipts;
  readonly retractions: Retractions;
  readonly store: ParcelStore;
  readonly identities: readonly string[];
  /** The data folder; contents go to `opened/AGENT/PARCEL` in it. */
  readonly data: string;
  readonly clock: Clock;
  readonly report: Report;
}

type FinalVerdict = Exclude<Verdict, { status: 'stored' }>;

/** So many failures in a row are the disk's and not the parcels': no need to try them all. */
const failuresMax = 3;

/** After a failure that says nothing of the parcel (a full disk): how long until the next look. */
const retryMs = 60_000;

export class Opener {
  readonly #parts: OpenerParts;
  readonly #stopping = new AbortController();
  #wake = new AbortController();
  #running: Promise<void> | undefined;

  constructor(parts: OpenerParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** There is something new to open or to apply. */
  wake(): void {
    this.#wake.abort();
  }

  /** Ends within a record: what was being opened is opened again next time. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, parcels } = this.#parts;
    while (!this.#stopping.signal.aborted) {
      this.#wake = new AbortController();
      const isIdle = await this.#drain();
      if (this.#stopping.signal.aborted) return;
      const retryAt = isIdle ? (parcels.nextRetryAt() ?? Number.POSITIVE_INFINITY) : clock.now() + retryMs;
      await clock.sleep(retryAt - clock.now(), this.#wake.signal);
    }
  }

  /** Works until nothing is left; false when something is left that may go better later. */
  async #drain(): Promise<boolean> {
    let after: ParcelRow | undefined;
    let failures = 0;
    while (failures < failuresMax && !this.#stopping.signal.aborted) {
      let parcel: ParcelRow | undefined;
      try {
        await this.#applyAll();
        parcel = this.#parts.parcels.nextToOpen(this.#parts.clock.now(), after);
        if (!parcel) return failures === 0;
        await this.#open(parcel);
      } catch (error) {
        if (this.#stopping.signal.aborted) return true;
        this.#parts.report({ name: 'intake.failed', code: 'INTAKE_FAILED', word: reasonOf(error) });
        failures += 1;
        // The ones behind it have done nothing wrong.
        after = parcel ?? after;
      }
    }
    return false;
  }

  async #applyAll(): Promise<void> {
    const { retractions } = this.#parts;
    await this.#removeUnfinished();
    for (let next = retractions.nextToApply(); next; next = retractions.nextToApply()) await this.#apply(next);
  }

  async #open(row: ParcelRow): Promise<void> {
    const { report } = this.#parts;
    const statement = acceptedStatement(row.statement);
    const { agent: source, parcelId: parcel, attempts } = row;
    if (attempts >= stuckAttempts) {
      report({ name: 'intake.failed', code: 'PARCEL_OPEN_STUCK', source, parcel, numbers: { attempts } });
    }
    const verdict = await this.#tryOpen(row, statement);
    this.#conclude(statement, verdict);
    const name = verdict.status === 'opened' ? 'parcel.opened' : 'parcel.rejected';
    report({ name, source, parcel });
  }

  async #tryOpen(row: ParcelRow, statement: ParcelStatement): Promise<FinalVerdict> {
    const { store, identities, parcels, clock } = this.#parts;
    const out = this.#contents(row);
    parcels.beginOpening(row, clock.now());
    try {
      await rm(out, { recursive: true, force: true });
      await mkdir(join(out, '..'), { recursive: true, mode: 0o700 });
      const retracted = new Retracted(await this.#openRetractions(row.agent));
      const { signal } = this.#stopping;
      const sources = [{ path: store.locate(row), statement }];
      const { opened } = await unpack({ sources, identities, out, retracted, signal });
      return { status: 'opened', entries: opened.reduce((sum, { parcel }) => sum + parcel.counts.records, 0) };
    } catch (error) {
      const code = refusalReason(error);
      if (code !== undefined) return { status: 'rejected', reason: code };
      // Stopped, or a disk that is full: it was not this parcel's doing.
      parcels.forgetOpening(row);
      throw error;
    }
  }

  #conclude(statement: ParcelStatement, verdict: FinalVerdict): void {
    const { parcels, receipts } = this.#parts;
    parcels.atomically(() => {
      if (parcels.move(statement, 'stored', verdict.status)) receipts.issue(statement, verdict);
      return undefined;
    });
  }

  async #apply({ agent, retractionId, jws }: { agent: string; retractionId: string; jws: string }): Promise<void> {
    const { retractions, identities, report } = this.#parts;
    const opened = await openRetraction(jws, identities).catch((error: unknown) => {
      // It stays open, for `fleet` to show: a person must ask the hospital what it meant.
      if (!isError(error, 'RETRACTION_UNREADABLE')) throw error;
      report({ name: 'intake.failed', source: agent, code: error.code });
      return undefined;
    });
    if (!opened) return retractions.setAside(agent, retractionId);
    const retracted = new Retracted([opened]);
    for (const parcelId of await this.#openedParcels(agent)) {
      const out = this.#contents({ agent, parcelId });
      const parcel = parcelSchema.parse(JSON.parse(await readFile(join(out, 'parcels', `${parcelId}.json`), 'utf8')));
      await markRetracted(out, retracted, parcel);
    }
    retractions.applied(agent, retractionId);
    report({ name: 'intake.retraction-applied', source: agent });
  }

  async #openRetractions(agent: string): Promise<OpenedRetraction[]> {
    const { retractions, identities } = this.#parts;
    return Promise.all(retractions.appliedTo(agent).map((jws) => openRetraction(jws, identities)));
  }

  async #openedParcels(agent: string): Promise<string[]> {
    const folder = join(this.#parts.data, 'opened', agent);
    if (!existsSync(folder)) return [];
    // Whoever moves contents on may have taken a folder half away; what is out of here is theirs to look after.
    return (await readdir(folder)).filter((name) => existsSync(join(folder, name, 'index.json')));
  }

  #contents({ agent, parcelId }: ParcelName): string {
    return join(this.#parts.data, 'opened', agent, parcelId);
  }

  async #removeUnfinished(): Promise<void> {
    const root = join(this.#parts.data, 'opened');
    if (!existsSync(root)) return;
    for (const agent of await readdir(root)) {
      const names = (await readdir(join(root, agent))).filter((name) => name.endsWith(openingSuffix));
      for (const name of names) await rm(join(root, agent, name), { recursive: true, force: true });
    }
  }
}

/** The code that rejects a parcel: only what is certain to be the parcel's fault, and will be so for ever. */
function refusalReason(error: unknown): string | undefined {
  const isVerdict = error instanceof ConnectorError && error.class === 'permanent' && error.code.startsWith('PARCEL_');
  return isVerdict ? error.code : undefined;
}
