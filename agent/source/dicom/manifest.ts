/** Every SOP Instance UID a PACS says a study has, asked series by series. */
import { createHash } from 'node:crypto';
import { countOf, type Discoverer, type StudyRow } from './discover.ts';
import type { Pacs, Row } from './pacs.ts';

export interface Manifest {
  readonly series: readonly { readonly seriesInstanceUid: string; readonly sopInstanceUids: readonly string[] }[];
  readonly instanceCount: number;
  /** False when an answer was cut, or has fewer instances than the PACS itself counts. */
  readonly isWhole: boolean;
  /** Equal for equal sets of instances, whatever the order. */
  readonly hash: string;
}

/** @throws ConnectorError PACS_… */
export async function readManifest(
  pacs: Pacs,
  discoverer: Discoverer,
  study: StudyRow,
  signal: AbortSignal,
): Promise<Manifest> {
  const { studyInstanceUid } = study;
  const seriesKeys = { StudyInstanceUID: studyInstanceUid, SeriesInstanceUID: '', NumberOfSeriesRelatedInstances: '' };
  const found = await pacs.find('SERIES', seriesKeys, signal);
  let isWhole = !discoverer.isCut(found);
  const series: Manifest['series'][number][] = [];
  for (const row of found.rows) {
    const seriesInstanceUid = row['SeriesInstanceUID'] ?? '';
    const keys = { StudyInstanceUID: studyInstanceUid, SeriesInstanceUID: seriesInstanceUid, SOPInstanceUID: '' };
    const images = await pacs.find('IMAGE', keys, signal);
    const sopInstanceUids = distinct(images.rows);
    const counted = countOf(row['NumberOfSeriesRelatedInstances']);
    // A count that is reached says more than the suspicion that the answer was cut just there.
    const isCounted = counted !== undefined && sopInstanceUids.length >= counted && images.status === 0;
    isWhole &&= isCounted || (counted === undefined && !discoverer.isCut(images));
    series.push({ seriesInstanceUid, sopInstanceUids });
  }
  const instanceCount = series.reduce((sum, { sopInstanceUids }) => sum + sopInstanceUids.length, 0);
  isWhole &&= instanceCount >= (study.instanceCount ?? 0);
  return { series, instanceCount, isWhole, hash: hashOf(series) };
}

function distinct(rows: readonly Row[]): string[] {
  return [...new Set(rows.map((row) => row['SOPInstanceUID'] ?? '').filter((uid) => uid !== ''))];
}

function hashOf(series: Manifest['series']): string {
  const lines = series.flatMap(({ seriesInstanceUid, sopInstanceUids }) =>
    sopInstanceUids.map((uid) => `${seriesInstanceUid} ${uid}`),
  );
  return createHash('sha256').update(lines.toSorted().join('\n')).digest('hex');
}
