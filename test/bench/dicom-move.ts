/**
 * A study pulled from a PACS that others use too: ours finds it, asks for its manifest, moves it and compares; movescu
 * is told which study it is and moves it. Both end when every image is theirs, ours when it is also safe.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PollTally } from '../../agent/model/ports.ts';
import { freePort, pduBytesMax, run, withoutDelay } from '../peers/dicom/dcmtk.ts';
import { Orthanc } from '../peers/dicom/orthanc.ts';
import { type Slices, writeSlices } from './dicom-images.ts';
import { inFolder } from './folder.ts';
import { imagesPortOf, notify, openImagingHospital, ourAeTitle } from './imaging-hospital.ts';
import { alternately, type Bench, type Sample } from './measure.ts';
import { patientId } from './mllp-load.ts';
import { sendSlices, settleDisk } from './storescu.ts';

const name = 'dicom-move-500-ct';
const count = { quick: 20, full: 500 } as const;
const warmUpCount = 20;

/** Whose study waits until the register covers her. */
const laterPatientId = '0000012346';

interface World {
  readonly archive: Orthanc;
  readonly slices: Slices;
  /** Where the PACS sends to: ours and movescu take turns. */
  readonly port: number;
  readonly folder: string;
}

export const moving: Bench = {
  measures: [{ name, unit: 'MB/s', goal: { of: 'ratio', is: 'at least', value: 0.95 }, peerName: 'movescu +B' }],
  round: (scale) =>
    inFolder(async (folder) => {
      const port = await freePort();
      const archive = await Orthanc.start({ destination: { aeTitle: ourAeTitle, port }, env: withoutDelay });
      try {
        const slices = await fill(archive, folder, count[scale.isQuick ? 'quick' : 'full']);
        const world = { archive, slices, port, folder };
        const halves = { ours: () => pullRate(world), peer: () => movescuRate(world) };
        return { [name]: (await alternately(scale, halves)) satisfies Sample };
      } finally {
        await archive.close();
      }
    }),
};

async function fill(archive: Orthanc, folder: string, count: number): Promise<Slices> {
  const slices = await writeSlices(join(folder, 'study'), { count, study: 1, patientId: laterPatientId });
  await sendSlices(slices, { port: archive.port, calledAe: archive.aeTitle }, withoutDelay);
  return slices;
}

/** MB/s of a `pull` by an agent that has pulled before and left the study for later. */
async function pullRate({ archive, slices, port, folder }: World): Promise<number> {
  const { aeTitle } = archive;
  const hospital = await openImagingHospital([patientId], { port, archive: { port: archive.port, aeTitle } });
  try {
    const warmUp = await writeSlices(join(folder, 'warm-up'), { count: warmUpCount, study: 2, patientId });
    await sendSlices(warmUp, { port: imagesPortOf(hospital), calledAe: ourAeTitle }, withoutDelay);
    await hospital.ask('pull', { name: 'pacs' });
    await notify(hospital, [patientId, laterPatientId]);
    await settleDisk();
    const startedAt = performance.now();
    const { pacs } = await hospital.ask<{ pacs: PollTally }>('pull', { name: 'pacs' });
    const seconds = (performance.now() - startedAt) / 1000;
    if (pacs.outcomes.kept !== slices.count) throw new Error(`of ${slices.count} images ${pacs.outcomes.kept} came`);
    return slices.bytes / 1e6 / seconds;
  } finally {
    await hospital.close();
  }
}

async function movescuRate({ archive, slices, port, folder }: World): Promise<number> {
  const out = join(folder, 'moved');
  await mkdir(out);
  await settleDisk();
  const startedAt = performance.now();
  const titles = ['-aet', ourAeTitle, '-aem', ourAeTitle, '-aec', archive.aeTitle, '+P', String(port)];
  const keys = ['QueryRetrieveLevel=STUDY', `StudyInstanceUID=${slices.studyInstanceUid}`].flatMap((key) => [
    '-k',
    key,
  ]);
  const options = ['-S', '+B', '-pdu', String(pduBytesMax)];
  const { code, said } = await run(
    'movescu',
    [...options, ...titles, ...keys, '127.0.0.1', String(archive.port)],
    withoutDelay,
    // With +B it writes where it stands, whatever -od says.
    out,
  );
  const seconds = (performance.now() - startedAt) / 1000;
  if (code !== 0 || (await readdir(out)).length !== slices.count)
    throw new Error(`movescu ended with ${code}: ${said}`);
  return slices.bytes / 1e6 / seconds;
}
