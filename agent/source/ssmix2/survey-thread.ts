/** The thread behind Surveyor. It may block: nobody but the scan waits for it. */
import assert from 'node:assert';
import { parentPort } from 'node:worker_threads';
import { listFolderSync, signatureOfSync } from './folder.ts';
import { recentOf } from './names.ts';
import type { Answer, Survey, SurveyedDay, SurveyedPatient, SurveyOrder } from './survey.ts';

/** Care dates looked at for one order, so that no answer is large and the rate is even; the rest is left out. */
const daysMax = 128;

/** Names in one folder: ten years of visits. What has more is left out, and is looked at without a survey. */
const namesMax = 2_000;

assert(parentPort);
const port = parentPort;
port.on('message', (order: SurveyOrder) => port.postMessage(survey(order)));

function survey({ paths, since }: SurveyOrder): Survey {
  const count = { accesses: 0, days: 0 };
  const patients = paths.map((path): SurveyedPatient | undefined => {
    count.accesses++;
    const listing = answer(() => listFolderSync(path, namesMax));
    if (!listing) return undefined;
    const days = new Map<string, Answer<SurveyedDay>>();
    const dates = 'fault' in listing ? [] : chosen(listing.result.folders, since);
    for (const date of dates) {
      if (count.days++ >= daysMax) break;
      const day = answer(() => dayOf(`${path}/${date}`));
      count.accesses += day && 'result' in day ? 1 + day.result.signatures.length : 1;
      if (day) days.set(date, day);
    }
    return { listing, days };
  });
  return { patients, accesses: count.accesses };
}

function chosen(folders: readonly string[], since: string | undefined): readonly string[] {
  return since === undefined ? folders : recentOf(folders, since);
}

function dayOf(path: string): SurveyedDay {
  const { folders, files } = listFolderSync(path, namesMax);
  return { folders, files, signatures: folders.map((dataType) => told(() => signatureOfSync(`${path}/${dataType}`))) };
}

/** Undefined for a folder with too many names. */
function answer<Result>(ask: () => Result): Answer<Result> | undefined {
  const answered = told(ask);
  return 'fault' in answered && answered.fault === 'SSMIX2_FOLDER_UNREADABLE' ? undefined : answered;
}

function told<Result>(ask: () => Result): Answer<Result> {
  try {
    return { result: ask() };
  } catch (error) {
    // Without a code it is no answer of the system's but a bug, and ends the run.
    if (!(error instanceof Error && 'code' in error)) throw error;
    return { fault: String(error.code) };
  }
}
