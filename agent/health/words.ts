/** The closed lists health speaks in. Nothing else can become a value in a heartbeat. */
import { type SourceConfig, sourceKinds as definitions } from '../source/registry.ts';

export const stateWords = ['ok', 'attention', 'paused', 'stopped-by-fault', 'safe'] as const;
export type StateWord = (typeof stateWords)[number];

export type SourceKind = SourceConfig['kind'];
export const sourceKinds: readonly SourceKind[] = definitions.map(({ kind }) => kind);
