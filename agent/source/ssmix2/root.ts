/** One root of the storage as a tree of patients, and what its errors mean. */
import { join } from 'node:path';
import { ConnectorError, isError, reasonOf } from '../../model/errors.ts';
import { type Listing, listFolder, toPath } from './folder.ts';
import { isPatientFolder } from './names.ts';
import type { Run } from './run.ts';
import type { Answer, SurveyedPatient } from './survey.ts';

/** The three folder names that lead to a patient. */
export type PatientPath = readonly [string, string, string];

export interface FolderOfPatient {
  readonly path: PatientPath;
  /** The patient's number, or undefined where the three folders do not agree. */
  readonly patientId: string | undefined;
}

/** A patient, and what a survey has seen of the folder; undefined where none was made. */
export interface SurveyedFolder {
  readonly patient: FolderOfPatient;
  readonly seen: SurveyedPatient | undefined;
}

/** Surveyed together: enough that asking another thread is worth it, few enough to be read at an even rate. */
const surveyPatients = 8;

/** Patients looked at before the thread is begun: a run that has no more to do is over sooner than a thread is there. */
const unsurveyedPatients = 32;

/** Faults of one folder: the rest of the tree can be read. Any other is a fault of the share. */
const folderFaults: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'ENOTDIR', 'ELOOP', 'SSMIX2_FOLDER_UNREADABLE']);

export class Root {
  /** Names it in what the source remembers; never in what it reports. */
  readonly key: string;
  readonly #index: number;
  readonly #run: Run;
  readonly #path: string;

  constructor(run: Run, index: number) {
    this.#run = run;
    this.#index = index;
    this.key = run.options.roots[index] ?? '';
    this.#path = toPath(this.key);
  }

  path(...names: readonly string[]): string {
    return join(this.#path, ...names);
  }

  /**
   * Lists a folder of the tree; undefined when this folder is gone or cannot be read.
   *
   * @throws ConnectorError SSMIX2_ROOT_UNREADABLE when it is the share that cannot be read. @throws RunEnded
   */
  async list(...names: readonly string[]): Promise<Listing | undefined> {
    return this.attempt(() => listFolder(this.path(...names)));
  }

  /** The same for any access to something in the tree. */
  async attempt<Result>(access: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await this.#run.read(access);
    } catch (error) {
      await this.#judge(error);
      return undefined;
    }
  }

  /** The listing of the root itself: a mount point that nothing is mounted on is there, and empty. */
  async top(isKnown: boolean): Promise<Listing> {
    const listing = await this.#run.read(() => listFolder(this.#path)).catch((error: unknown) => this.#fail(error));
    if (isKnown && listing.folders.length === 0) throw rootUnreadable(this.#index, undefined, 'empty');
    return listing;
  }

  /** Patients in byte order, beginning after `after`. `onStrays` is told of files that lie above every patient. */
  async *patients(
    top: Listing,
    after: PatientPath | undefined,
    onStrays?: (folder: readonly string[], files: readonly string[]) => Promise<void>,
  ): AsyncGenerator<FolderOfPatient> {
    if (onStrays) await onStrays([], top.files);
    for (const first of from(top.folders, after?.[0])) {
      const isFirst = first === after?.[0];
      const upper = await this.list(first);
      if (upper && onStrays) await onStrays([first], upper.files);
      for (const second of from(upper?.folders ?? [], isFirst ? after?.[1] : undefined)) {
        const isSecond = isFirst && second === after?.[1];
        const lower = await this.list(first, second);
        if (lower && onStrays) await onStrays([first, second], lower.files);
        const last = isSecond ? after?.[2] : undefined;
        for (const name of from(lower?.folders ?? [], last)) {
          const path: PatientPath = [first, second, name];
          if (name !== last) yield { path, patientId: isPatientFolder(path) ? name : undefined };
        }
      }
    }
  }

  /**
   * The same patients, each as it was seen a moment before by a thread that is a few of them ahead; but for the first.
   *
   * @throws RunEnded
   */
  async *surveyed(patients: AsyncIterable<FolderOfPatient>, since?: string): AsyncGenerator<SurveyedFolder> {
    let ahead: AsyncIterable<SurveyedFolder> | undefined;
    let count = 0;
    for await (const some of inGroups(patients, surveyPatients)) {
      const next = count < unsurveyedPatients ? unsurveyed(some) : this.#survey(some, since);
      count += some.length;
      if (ahead) yield* ahead;
      ahead = next;
    }
    if (ahead) yield* ahead;
  }

  /** Begins at once; what it throws, it throws when it is read. */
  #survey(patients: readonly FolderOfPatient[], since: string | undefined): AsyncIterable<SurveyedFolder> {
    const order = { paths: patients.map(({ path }) => this.path(...path)), since };
    const surveying = this.#run.survey(order);
    surveying.catch(() => undefined);
    return (async function* () {
      const survey = await surveying;
      for (const [index, patient] of patients.entries()) yield { patient, seen: survey.patients[index] };
    })();
  }

  /** What a survey was told, judged like any other access. */
  async surveyedResult<Result>(answer: Answer<Result>): Promise<Result | undefined> {
    if ('result' in answer) return answer.result;
    await this.#judge(Object.assign(new Error(answer.fault), { code: answer.fault }));
    return undefined;
  }

  /** Returns when a fault is one of a single folder. */
  async #judge(error: unknown): Promise<void> {
    const reason = error instanceof ConnectorError ? error.code : reasonOf(error);
    if (folderFaults.has(reason)) this.#run.unreadableFolders++;
    // Gone: the folder alone, or everything? An unmounted share leaves an empty folder in its place.
    else if (reason === 'ENOENT') await this.top(true);
    else this.#fail(error);
  }

  /** What the system said is the share's fault; the run's own end, and what was judged before, stay what they are. */
  #fail(error: unknown): never {
    const isOfSystem = error instanceof Error && 'code' in error && !isError(error, 'SSMIX2_ROOT_UNREADABLE');
    throw isOfSystem ? rootUnreadable(this.#index, error) : error;
  }
}

/** A root is named by its place in the configuration: its path is the hospital's. */
export function rootUnreadable(index: number, cause: unknown, reason = reasonOf(cause)): ConnectorError {
  return new ConnectorError('SSMIX2_ROOT_UNREADABLE', { root: `roots[${index}]`, reason }, { cause });
}

function from(sorted: readonly string[], first: string | undefined): readonly string[] {
  return first === undefined ? sorted : sorted.filter((name) => name >= first);
}

async function* unsurveyed(patients: readonly FolderOfPatient[]): AsyncGenerator<SurveyedFolder> {
  for (const patient of patients) yield { patient, seen: undefined };
}

async function* inGroups<Item>(items: AsyncIterable<Item>, size: number): AsyncGenerator<Item[]> {
  let group: Item[] = [];
  for await (const item of items) {
    if (group.push(item) < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
