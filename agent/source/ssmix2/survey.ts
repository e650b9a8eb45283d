/**
 * What the folders of some patients look like, seen by a thread of its own. Nearly all of a scan is asking the file
 * system for what has not changed. Asked one by one without blocking, each question costs the main thread more than the
 * answer costs the disk (measured: 5.6 × `find`); blocking, a share that is gone would stop the whole agent.
 *
 * The thread begins with the first survey and ends with the run. It is no judge: what it could not read it says.
 */
import { Worker } from 'node:worker_threads';
import type { Listing, Signature } from './folder.ts';

/** What the system said, or its word for why not. */
export type Answer<Result> = { readonly result: Result } | { readonly fault: string };

/** A care date's folder, and what says whether the folders of its data types have changed, in the order of `folders`. */
export interface SurveyedDay extends Listing {
  readonly signatures: readonly Answer<Signature>[];
}

export interface SurveyedPatient {
  readonly listing: Answer<Listing>;
  /** By care date. One that is not here was not looked at: it is too large, or its patient has too many. */
  readonly days: ReadonlyMap<string, Answer<SurveyedDay>>;
}

export interface SurveyOrder {
  /** Folders of patients, as `folder.ts` has paths. */
  readonly paths: readonly string[];
  /** Care dates of these patients: those since a day, as `recentOf` has them, or all. */
  readonly since: string | undefined;
}

export interface Survey {
  /** In the order of their paths; undefined where a folder is too large for a survey. */
  readonly patients: readonly (SurveyedPatient | undefined)[];
  /** Folders listed, and asked for their times. */
  readonly accesses: number;
}

/** A survey is small and soon forgotten: without a limit the thread's garbage takes 15 MB more. */
const resourceLimits = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 } as const;

export class Surveyor {
  #worker: Worker | undefined;
  #waiting: PromiseWithResolvers<Survey>[] = [];

  /** Answers come in the order of the orders. @throws what ended the thread */
  async order(order: SurveyOrder): Promise<Survey> {
    const waiting = Promise.withResolvers<Survey>();
    this.#waiting.push(waiting);
    this.#worker ??= this.#start();
    this.#worker.postMessage(order, []);
    return waiting.promise;
  }

  /** Ends the thread as soon as it has an answer to what it asked last, which a share that is gone can withhold. */
  close(): void {
    // Not awaited, for that reason; what it answers or throws from now on concerns nobody.
    this.#worker?.removeAllListeners('error').on('error', () => undefined);
    void this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(new URL('./survey-thread.ts', import.meta.url), { resourceLimits });
    worker.on('message', (survey: Survey) => this.#waiting.shift()?.resolve(survey));
    worker.on('error', (error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    });
    return worker;
  }
}
