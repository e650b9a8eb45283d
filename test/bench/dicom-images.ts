/** A CT study as files, for DCMTK's senders. Nobody in it exists. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { instance, studyUid, toFile } from '../peers/dicom/dataset.ts';
import { daysAgo } from '../peers/hospital/hospital.ts';

/** Rows and columns of a slice: half a megabyte of pixels. */
const size = 512;

export interface Slices {
  readonly studyInstanceUid: string;
  /** One for each association. */
  readonly folders: readonly string[];
  readonly count: number;
  /** Of all files together. */
  readonly bytes: number;
}

interface SlicesChoice {
  readonly count: number;
  readonly study: number;
  readonly patientId: string;
  readonly associations?: number;
}

/** Of today; as Orthanc leaves them, so that no side has more to send than the other. */
export async function writeSlices(folder: string, choice: SlicesChoice): Promise<Slices> {
  const { count, study, patientId, associations = 1 } = choice;
  const folders = Array.from({ length: associations }, (_, index) => join(folder, String(index)));
  for (const each of folders) await mkdir(each, { recursive: true });
  const studyDate = daysAgo(0).replaceAll('-', '');
  let bytes = 0;
  for (let number = 1; number <= count; number++) {
    const file = toFile(instance({ study, number, patientId, studyDate, size, isPlain: true }));
    await writeFile(join(folder, String(number % associations), `${String(number).padStart(4, '0')}.dcm`), file);
    bytes += file.length;
  }
  return { studyInstanceUid: studyUid(study), folders, count, bytes };
}
