/** A whole pull from a real archive: Orthanc answers C-FIND and sends by C-MOVE to our acceptor. */
import { createHash } from 'node:crypto';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { hourMs } from '../../base/fake-clock.ts';
import { describeSource } from '../../conformance/source.ts';
import { dataSetOf, instance, type Instance, names, studyUid } from '../../peers/dicom/dataset.ts';
import { freePort, run } from '../../peers/dicom/dcmtk.ts';
import { Orthanc } from '../../peers/dicom/orthanc.ts';
import { startSource } from './host.ts';

const open: { close(): Promise<void> }[] = [];
let destinationPort: number;

async function orthancWith(instances: readonly Instance[], resultsMax = 0): Promise<Orthanc> {
  const orthanc = await Orthanc.start({ destination: { aeTitle: 'KAKEHASHI', port: destinationPort }, resultsMax });
  open.push(orthanc);
  await orthanc.put(...instances);
  return orthanc;
}

const query = ({ port, aeTitle }: Orthanc) => ({ query: { host: '127.0.0.1', port, aeTitle } });
const digests = (dataSets: readonly Buffer[]) =>
  dataSets.map((bytes) => createHash('sha256').update(bytes).digest('hex')).toSorted();

beforeEach(async () => {
  destinationPort = await freePort();
});

afterAll(async () => {
  for (const each of open) await each.close();
});

it('takes every instance as Orthanc holds it, and captures the studies', async () => {
  const held = [
    ...[1, 2, 3].map((number) => instance({ study: 1, number, isPlain: true })),
    instance({ study: 1, series: 2, sopClass: 'mr', modality: 'MR', name: 'katakana' }),
    instance({ study: 1, series: 3, sopClass: 'secondaryCapture', syntax: 'jpegBaseline', modality: 'OT' }),
    instance({ study: 2, sopClass: 'multiframe', size: 256, frames: 10, modality: 'US', patientId: '00000007' }),
  ];
  const orthanc = await orthancWith(held);
  const { source, intake, clock } = await startSource({ listen: `127.0.0.1:${destinationPort}`, ...query(orthanc) });
  const signal = new AbortController().signal;
  const tally = await source.poll?.(signal, () => undefined);
  expect(tally).toMatchObject({ offered: held.length, complete: true });
  expect(intake.taken.map(({ facts }) => facts.nativeKey).toSorted()).toEqual(
    held.map(({ sopInstanceUid }) => sopInstanceUid).toSorted(),
  );
  // Orthanc writes lengths of sequences anew; what has none must come out as it went in.
  const plain = digests(held.slice(0, 2).map(({ dataSet }) => dataSet));
  expect(digests(intake.taken.map(({ bytes }) => bytes))).toEqual(expect.arrayContaining(plain));
  const atOrthanc = digests((await orthanc.files()).map(dataSetOf));
  expect(digests(intake.taken.map(({ bytes }) => bytes)).filter((each) => !atOrthanc.includes(each))).toEqual([]);
  expect(intake.taken.some(({ bytes }) => bytes.includes(names.katakana.name))).toBe(true);
  clock.freeze(hourMs);
  await source.poll?.(signal, () => undefined);
  expect(Object.keys(intake.memory()).map((name) => name.split('\0')[0])).toEqual(['captured', 'captured']);
  expect(intake.taken).toHaveLength(held.length);
  await source.stop();
});

it('finds every study of a day although Orthanc answers with 0xFE00 at its limit', async () => {
  const held = Array.from({ length: 9 }, (_, index) => instance({ study: index + 1, studyTime: `${10 + index}0000` }));
  const orthanc = await orthancWith(held, 4);
  const options = { listen: `127.0.0.1:${destinationPort}`, daysBack: 0, ...query(orthanc) };
  const { source, intake } = await startSource(options);
  expect(await source.poll?.(new AbortController().signal, () => undefined)).toMatchObject({
    offered: 9,
    complete: true,
  });
  expect(intake.taken.map(({ facts }) => String(facts.studyInstanceUid)).toSorted()).toEqual(
    held.map((_, index) => studyUid(index + 1)).toSorted(),
  );
  await source.stop();
});

it('takes what movescu has Orthanc send to us', async () => {
  const orthanc = await orthancWith([instance({ study: 5 })]);
  const { source, intake } = await startSource({ listen: `127.0.0.1:${destinationPort}` });
  const keys = ['-k', 'QueryRetrieveLevel=STUDY', '-k', `StudyInstanceUID=${studyUid(5)}`];
  const ends = ['-aet', 'KAKEHASHI', '-aec', orthanc.aeTitle, '-aem', 'KAKEHASHI', '127.0.0.1', String(orthanc.port)];
  expect((await run('movescu', ['-S', ...keys, ...ends])).said).toBe('');
  expect(intake.taken.map(({ facts }) => [facts.route, facts.studyInstanceUid])).toEqual([['c-move', studyUid(5)]]);
  await source.stop();
});

describeSource('dicom, polling Orthanc', async () => {
  const port = await freePort();
  const orthanc = await Orthanc.start({ destination: { aeTitle: 'KAKEHASHI', port } });
  const { source, intake, events } = await startSource({ listen: `127.0.0.1:${port}`, ...query(orthanc) });
  let count = 0;
  let isOpen = true;
  const close = async () => {
    if (isOpen) await orthanc.close();
    isOpen = false;
  };
  return {
    source,
    mode: 'poll',
    intake,
    events,
    secrets: ['00012345', 'Kakehashi', studyUid(1), '架橋'],
    offer: async (added) => {
      const instances = Array.from({ length: added }, () => instance({ number: ++count, isPlain: true }));
      await orthanc.put(...instances);
      return { bytes: instances.map(({ dataSet }) => dataSet), acknowledged: 0 };
    },
    breakPeer: close,
    close,
  };
});
