/** The thread behind Surveyor. It may block: nobody but the scan waits for it. */
import assert from 'node:assert';
import { parentPort } from 'node:worker_threads';
import { listFolderSync, signatureOfSync } from './folder.ts';
import { recentOf } from './names.ts';
import type { Answer, Survey, SurveyedDay, SurveyedPatient, SurveyOrder } from './survey.ts';

/** Care dates looked at for one order, so that no answer is large and the rate is even; the rest is left out. */
const daysMax = 128;

assert(parentPort);
const port = parentPort;
port.on('message', (order: SurveyOrder) => port.postMessage(survey(order)));

function survey({ paths, since }: SurveyOrder): Survey {
  const count = { accesses: 0, days: 0 };
  const patients = paths.map((path): SurveyedPatient => {
    count.accesses++;
    const listing = answer(() => listFolderSync(path));
    const days = new Map<string, Answer<SurveyedDay>>();
    if ('fault' in listing) return { listing, days };
    const { folders } = listing.result;
    for (const date of since === undefined ? folders : recentOf(folders, since)) {
      if (count.days++ >= daysMax) break;
      const day = answer(() => dayOf(`${path}/${date}`));
      count.accesses += 'result' in day ? 1 + day.result.signatures.length : 1;
      days.set(date, day);
    }
    return { listing, days };
  });
  return { patients, accesses: count.accesses };
}

function dayOf(path: string): SurveyedDay {
  const { folders, files } = listFolderSync(path);
  return {
    folders,
    files,
    signatures: folders.map((dataType) => answer(() => signatureOfSync(`${path}/${dataType}`))),
  };
}

function answer<Result>(ask: () => Result): Answer<Result> {
  try {
    return { result: ask() };
  } catch (error) {
    // Without a code it is no answer of the system's but a bug, and ends the run.
    if (!(error instanceof Error && 'code' in error)) throw error;
    return { fault: String(error.code) };
  }
}
