/**
 * One upload as the agent makes it, in a process that does nothing else. Says `{"seconds": …}`.
 *
 * `node child-upload.ts URL TLS-FOLDER RECEIVER FILE PARCEL STATEMENT`
 */
import { statSync } from 'node:fs';
import { systemClock } from '../../agent/base/clock.ts';
import { RateSchedule, Throttle } from '../../agent/ship/rate.ts';
import { upload } from '../../agent/ship/upload.ts';
import { linkTo } from './producer-link.ts';

const [url = '', tlsFolder = '', receiver = '', path = '', parcelId = '', statement = ''] = process.argv.slice(2);
const link = linkTo(url, tlsFolder, receiver === 'tus' ? 'tus' : 'kakehashi');
const startedAt = performance.now();
const { kind } = await upload(
  link,
  { parcelId, path, bytes: statSync(path).size, statement },
  {
    permit: () => 'go',
    rate: new Throttle(RateSchedule.parse('unlimited'), systemClock),
    signal: new AbortController().signal,
  },
);
const seconds = (performance.now() - startedAt) / 1000;
await link.close();
if (kind !== 'complete') throw new Error(`the upload ended ${kind}`);
process.stdout.write(`${JSON.stringify({ seconds })}\n`);
