/**
 * Going through one root. Two passes a run, each resumed where the last run stopped:
 *
 * - **recent**: every patient's folder is listed, and the care dates of the last `recentDays` (and those to come) are
 *   looked at, with the `-` folder of patients who have one. This is where nearly all of a day's changes lie.
 * - **slice**: the next so many patients with everything they have, so that the whole tree is covered every
 *   `fullScanDays`; more of them while the run is young. Until it was covered once, as many as a run has time for.
 *
 * Nothing is held but the names of one folder at each level.
 */
import { addDays, dayJst } from '../../base/clock.ts';
import type { Category } from '../../model/category.ts';
import { categoriesOf, deferralKind, encodeDeferral } from './deferral.ts';
import { Look } from './look.ts';
import { recentOf } from './names.ts';
import { type FolderOfPatient, type PatientPath, Root } from './root.ts';
import type { Run } from './run.ts';
import type { SurveyedPatient } from './survey.ts';

const dayMs = 86_400_000;

/** A run goes no longer than this through the slice: then today's data are looked at again first. */
export const sliceMsMax = 600_000;

/** And not less, whatever its share is: a small tree is gone through whole in every run. */
export const sliceMsMin = 5_000;

/** Every so many full passes no folder is skipped because it looks unchanged; why that is needed: `catalogue.ts`. */
export const relistEveryPasses = 4;

/** Where a root's scan stands. Sealed in the source's memory, since it holds patients' numbers. */
interface Cursor {
  /** Last patient of the recent pass that is done; absent between two passes. */
  recentAfter?: PatientPath;
  /** Patients counted by the recent pass so far, and in all by the last whole one. */
  recentCount: number;
  patients: number;
  /** The same for the full pass. */
  fullAfter?: PatientPath;
  /** Full passes done. */
  passes: number;
  /** When the last slice was taken. */
  slicedAt: number;
  /** Newest time in any file's name. */
  newest: string;
}

const freshCursor: Cursor = { recentCount: 0, patients: 0, passes: 0, slicedAt: 0, newest: '' };

export class RootScan {
  readonly #run: Run;
  readonly #root: Root;
  readonly #cursor: Cursor;

  constructor(run: Run, index: number) {
    this.#run = run;
    this.#root = new Root(run, index);
    this.#cursor = readCursor(run.draft.state('cursor', this.#root.key));
  }

  get key(): string {
    return this.#root.key;
  }

  get patients(): number {
    return this.#cursor.patients;
  }

  /** @throws ConnectorError SSMIX2_ROOT_UNREADABLE, and what Intake.accept throws. @throws RunEnded */
  async recent(): Promise<void> {
    const since = addDays(dayJst(this.#run.host.clock.now()), -this.#run.options.recentDays).replaceAll('-', '');
    const cursor = this.#cursor;
    const patients = this.#root.patients(await this.#top(), cursor.recentAfter);
    for await (const { patient, seen } of this.#root.surveyed(patients, since)) {
      await this.#lookAt(patient, { seen, since });
      cursor.recentAfter = patient.path;
      cursor.recentCount++;
      await this.#done();
    }
    delete cursor.recentAfter;
    cursor.patients = cursor.recentCount;
    cursor.recentCount = 0;
    this.#save();
  }

  /** True when this run's share of the full pass is done. @throws as `recent` */
  async slice(): Promise<boolean> {
    const cursor = this.#cursor;
    const { clock } = this.#run.host;
    const startedMs = clock.monotonic();
    const share = this.#share();
    let count = 0;
    const onStrays = (folder: readonly string[], files: readonly string[]) => this.#look().strays(folder, files);
    const patients = this.#root.patients(await this.#top(), cursor.fullAfter, onStrays);
    for await (const { patient, seen } of this.#root.surveyed(patients)) {
      const elapsedMs = clock.monotonic() - startedMs;
      if (elapsedMs >= sliceMsMax || (count >= share && elapsedMs >= sliceMsMin)) return this.#sliced(count >= share);
      await this.#lookAt(patient, { seen });
      cursor.fullAfter = patient.path;
      count++;
      await this.#done();
    }
    delete cursor.fullAfter;
    cursor.passes++;
    return this.#sliced(true);
  }

  /** Everything of one patient, now. False when the folder is not there. @throws as `recent` */
  async patient(path: PatientPath, patientId: string): Promise<boolean> {
    return this.#lookAt({ path, patientId });
  }

  /** The newest time in any name this scan has seen, `YYYYMMDDHHMMSS…`, or ''. */
  get newest(): string {
    return this.#cursor.newest;
  }

  /** Patients whose turn it is. Time that did not pass, or passed twice by a clock set back, makes no difference. */
  #share(): number {
    const { passes, patients, slicedAt } = this.#cursor;
    if (passes === 0) return Number.POSITIVE_INFINITY;
    const elapsed = Math.max(0, this.#run.host.clock.now() - slicedAt) / (this.#run.options.fullScanDays * dayMs);
    return Math.ceil(patients * Math.min(1, elapsed));
  }

  #sliced(isDone: boolean): boolean {
    this.#cursor.slicedAt = this.#run.host.clock.now();
    this.#save();
    return isDone;
  }

  #top() {
    return this.#root.top(this.#cursor.patients > 0);
  }

  #look(): Look {
    const { passes } = this.#cursor;
    const isRelisting = passes % relistEveryPasses === relistEveryPasses - 1;
    return new Look(this.#root, this.#run, { isLoaded: passes > 0, isRelisting });
  }

  /**
   * Looks at the care dates since a day, or at everything; `seen` is what a survey has seen of it a moment ago. False
   * when the patient's folder cannot be listed.
   */
  async #lookAt(
    patient: FolderOfPatient,
    { seen, since }: { seen?: SurveyedPatient | undefined; since?: string } = {},
  ): Promise<boolean> {
    const listing = seen ? await this.#root.surveyedResult(seen.listing) : await this.#root.list(...patient.path);
    if (!listing) return false;
    const look = this.#look();
    const unreadable = this.#run.unreadableFolders;
    const isWhole = since === undefined;
    const dates = isWhole ? listing.folders : recentOf(listing.folders, since);
    for (const date of dates) await look.day(patient, date, seen?.days.get(date));
    if (isWhole) await look.strays(patient.path, listing.files);
    // Of what could not be read nothing is concluded.
    this.#deferral(patient, look.found.deferred, isWhole && unreadable === this.#run.unreadableFolders);
    if (look.found.newest > this.#cursor.newest) this.#cursor.newest = look.found.newest;
    return true;
  }

  /** Keeps one note a patient of what waits for the patient's becoming eligible, with one gap that tells of it. */
  #deferral({ path, patientId }: FolderOfPatient, found: ReadonlySet<Category>, isWhole: boolean): void {
    if (patientId === undefined || (found.size === 0 && !isWhole)) return;
    const { draft, number } = this.#run;
    const key = `${this.#root.key}\n${path.join('/')}`;
    const stored = draft.state(deferralKind, key);
    const known = categoriesOf(stored);
    const categories = new Set(isWhole ? found : [...known, ...found]);
    if (categories.size === 0) {
      if (!stored) return;
      draft.remember({ kind: deferralKind, key, value: undefined });
      return draft.close(key);
    }
    if (!isWhole && stored && known.size === categories.size) return;
    if (!stored) draft.note({ code: 'DEFERRED', reference: key });
    const value = encodeDeferral({ root: this.#root.key, path, patientId, categories: [...categories] });
    draft.remember({ kind: deferralKind, key, value, mark: number });
  }

  async #done(): Promise<void> {
    this.#run.patientDone(this.#cursor.patients);
    if (!this.#run.draft.isFull) return;
    this.#save();
    await this.#run.commitWhenFull();
  }

  #save(): void {
    const value = Buffer.from(JSON.stringify(this.#cursor));
    this.#run.draft.remember({ kind: 'cursor', key: this.#root.key, value });
  }
}

export function readCursor(value: Uint8Array | undefined): Cursor {
  return value ? (JSON.parse(Buffer.from(value).toString()) as Cursor) : { ...freshCursor };
}
