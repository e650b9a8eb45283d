/** What all roots share in one run: its limits, its draft, and how it is broken off. */
import type { FactsOptions } from '../../base/hl7/facts.ts';
import { ConnectorError } from '../../model/errors.ts';
import type { Progress, SourceHost } from '../../model/ports.ts';
import { Draft } from './draft.ts';
import { Pace } from './pace.ts';
import { type Survey, Surveyor, type SurveyOrder } from './survey.ts';

export interface ScanOptions extends FactsOptions {
  readonly roots: readonly string[];
  readonly recentDays: number;
  readonly fullScanDays: number;
  readonly stableForMs: number;
  readonly filesPerSecond: number;
  readonly fileBytesMax: number;
  /** Of trees that were gone through once; in one run. */
  readonly changesMax: number;
}

/** Thrown where a run ends early and nothing is wrong: it was told to stop, or it has done its share. */
export class RunEnded extends Error {
  override readonly name = 'RunEnded';
}

/** How often a progress bar is told. */
const patientsPerProgress = 64;

export class Run {
  readonly options: ScanOptions;
  readonly host: SourceHost;
  readonly signal: AbortSignal;
  readonly draft: Draft;
  /** Number of this run, for ever growing: what a file's state is compared over. */
  readonly number: number;
  readonly #pace: Pace;
  readonly #progress: Progress;
  readonly #surveyor = new Surveyor();
  #patients = 0;
  #changes = 0;
  unreadableFolders = 0;
  quarantined = 0;

  constructor(parts: { options: ScanOptions; host: SourceHost; signal: AbortSignal; progress: Progress }) {
    this.options = parts.options;
    this.host = parts.host;
    this.signal = parts.signal;
    this.#progress = parts.progress;
    this.#pace = new Pace(parts.host.clock, parts.options.filesPerSecond);
    const last = parts.host.intake.state('run', '');
    this.number = last ? Number(Buffer.from(last.value).toString()) + 1 : 1;
    this.draft = new Draft(parts.host.intake, this.number);
    this.draft.remember({ kind: 'run', key: '', value: Buffer.from(String(this.number)) });
  }

  /**
   * One access to the share: waits for its turn, and does not wait for an answer that never comes once the run is
   * broken off. A share that is gone can hold a call for minutes; what it answers then is dropped.
   *
   * @throws RunEnded when the run is broken off, and what `access` throws
   */
  async read<Result>(access: () => Promise<Result>): Promise<Result> {
    await this.#pace.turn(this.signal);
    if (this.signal.aborted) throw new RunEnded();
    const broken = Promise.withResolvers<never>();
    const end = () => broken.reject(new RunEnded());
    this.signal.addEventListener('abort', end, { once: true });
    try {
      return await Promise.race([access(), broken.promise]);
    } finally {
      this.signal.removeEventListener('abort', end);
    }
  }

  /** Many accesses in one, each of which counts for the rate. @throws as `read` */
  async survey(order: SurveyOrder): Promise<Survey> {
    const survey = await this.read(() => this.#surveyor.order(order));
    this.#pace.charge(survey.accesses - 1);
    return survey;
  }

  /** No more of the share is read. */
  close(): void {
    this.#surveyor.close();
  }

  /** Commits when enough has gathered. @throws what `Intake.accept` throws */
  async commitWhenFull(): Promise<void> {
    if (this.draft.isFull) await this.draft.commit();
  }

  patientDone(total: number): void {
    this.#patients++;
    if (this.#patients % patientsPerProgress === 0) this.tell(total);
  }

  tell(total: number): void {
    const known = total > 0 ? { total: Math.max(total, this.#patients) } : {};
    this.#progress({ done: this.#patients, unit: 'patients', ...known });
  }

  /**
   * The brake: a tree that was known and changes all at once was moved, restored or renamed by somebody. It goes on at
   * the next run, slowly, with somebody told.
   *
   * @throws RunEnded beyond `changesMax`
   */
  countChange(): void {
    const limit = this.options.changesMax;
    if (this.#changes === limit) {
      const { code } = new ConnectorError('SSMIX2_TOO_MANY_CHANGES', { limit });
      this.host.report({ name: 'source.failed', source: this.host.name, code, numbers: { limit } });
      throw new RunEnded();
    }
    this.#changes++;
  }
}
