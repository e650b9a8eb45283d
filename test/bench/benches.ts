import { fhirBenches } from './fhir.ts';
import { dicomBenches } from './dicom.ts';
import { moving } from './dicom-move.ts';
import { gate } from './gate.ts';
import { hl7Benches } from './hl7.ts';
import { idle } from './idle.ts';
import { largeInstance } from './large-instance.ts';
import type { Bench } from './measure.ts';
import { parcels } from './parcels.ts';
import { queues } from './queue.ts';
import { registers } from './register.ts';
import { ssmix2Scan } from './ssmix2.ts';
import { uploads } from './upload.ts';

/** In the order they run and are printed. */
export const benches: readonly Bench[] = [
  largeInstance,
  ...dicomBenches,
  moving,
  ...hl7Benches,
  idle,
  gate,
  ...parcels,
  uploads,
  ...queues,
  ssmix2Scan,
  ...registers,
  ...fhirBenches,
];
