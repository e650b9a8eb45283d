/** What lies in the storage of the bench: the same names for whoever makes it and whoever remembers it. */

/** The name of the source that scans it. */
export const storageSource = 'ssmix';

/** Care dates of a patient, besides `-`. */
const visits = 5;

const firstId = 10_000_000;

export function patientIds(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(firstId + index));
}

export function pathOf(id: string): string {
  return `${id.slice(0, 3)}/${id.slice(3, 6)}/${id}`;
}

/** Of years that are over. */
export function careDates(id: string): string[] {
  const n = Number(id) - firstId;
  const dates = Array.from({ length: visits }, (_, visit) => {
    const month = 1 + ((n + visit * 5) % 12);
    const day = 1 + ((n * 7 + visit) % 28);
    return `${2020 + visit}${two(month)}${two(day)}`;
  });
  return ['-', ...dates];
}

export function dataTypesOf(id: string, date: string): { dataType: string; files: string[] }[] {
  const counts = date === '-' ? { 'ADT-00': 2, 'PPR-01': 2 } : { 'ADT-12': 1, 'OML-01': 2, 'OML-11': 2, 'OMP-01': 2 };
  return Object.entries(counts).map(([dataType, count]) => ({
    dataType,
    files: Array.from({ length: count }, (_, index) => fileOf(id, date, dataType, index)),
  }));
}

function fileOf(id: string, date: string, dataType: string, index: number): string {
  const at = date === '-' ? '20200101' : date;
  return `${id}_${date}_${dataType}_${String(index + 1).padStart(15, '0')}_${at}10150000${index}_01_1`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
