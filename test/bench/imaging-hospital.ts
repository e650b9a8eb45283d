/** A hospital whose images and lab results may leave: what arrives is taken by the path that keeps it. */
import { daysAgo, Hospital, neverSchedule, producerName } from '../peers/hospital/hospital.ts';

export const ourAeTitle = 'KAKEHASHI';

const listen = '127.0.0.1:0';

/** The PACS that is asked when the bench says so. */
interface Archive {
  readonly port: number;
  readonly aeTitle: string;
}

interface ImagingChoice {
  /** Where images are received; a PACS that sends by C-MOVE must know it beforehand. Default: a port of the system. */
  readonly port?: number;
  readonly archive?: Archive;
}

/** `patients` are covered by the register. */
export async function openImagingHospital(
  patients: readonly string[],
  { port = 0, archive }: ImagingChoice = {},
): Promise<Hospital> {
  const query = archive && { query: { host: '127.0.0.1', ...archive }, schedule: neverSchedule };
  const sources = [
    { name: 'ehr-feed', kind: 'hl7v2', listen },
    { name: 'pacs', kind: 'dicom', aeTitle: ourAeTitle, listen: `127.0.0.1:${port}`, ...query },
  ];
  const hospital = await Hospital.open(patients, { settings: { sources } });
  const items = { basis: 'article-57', categories: ['demographics', 'lab-result', 'image'], from: daysAgo(400) };
  await hospital.ask('register.notice', { version: noticeVersion, ...items });
  await hospital.ask('register.filing', { producer: producerName, ...items });
  await notify(hospital, patients);
  return hospital;
}

const noticeVersion = '2025-02';

/** The register of today: these patients, and no others, were told of images. */
export async function notify(hospital: Hospital, patients: readonly string[]): Promise<void> {
  await hospital.register(patients.map((id) => `${id},article-57,${noticeVersion},${daysAgo(90)},`));
}

export function imagesPortOf(hospital: Hospital): number {
  return hospital.agent.ready.ports?.['pacs'] ?? 0;
}
