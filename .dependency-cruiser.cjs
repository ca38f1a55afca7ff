// Two things that dependency-cruiser's swc visitor does not know: `using` (its declarators read like those of a const),
// and that a module taking types from its own index.ts, where its contract is, makes no cycle.
const { Visitor } = require('@swc/core/Visitor.js');
const { visitStatement, visitModuleDeclaration } = Visitor.prototype;
Visitor.prototype.visitStatement = function (statement) {
  if (statement.type !== 'UsingDeclaration') return visitStatement.call(this, statement);
  statement.decls = this.visitVariableDeclarators(statement.decls);
  return statement;
};
Visitor.prototype.visitModuleDeclaration = function (declaration) {
  const ownContract = declaration.type === 'ImportDeclaration' && declaration.typeOnly;
  if (ownContract && /^\.\.?\/index\.ts$/.test(declaration.source.value)) return declaration;
  return visitModuleDeclaration.call(this, declaration);
};

// The layers of the architecture (README, "Architecture"): calls go down only, modules meet through index.ts.
const layers = [
  ['daemon', 'cli'],
  ['cri', 'api'],
  ['builder'],
  ['streaming', 'stats', 'events'],
  ['pods', 'containers'],
  ['images'],
  ['snapshotter', 'content', 'registry', 'task', 'network'],
  ['store', 'linux'],
  ['generated'],
  ['rpc'],
  ['base'],
];

const upward = layers.flatMap((above, level) =>
  layers.slice(level + 1).map((below) => ({
    name: `${below.join('-')}-must-not-use-${above.join('-')}`,
    severity: 'error',
    from: { path: `^src/(${below.join('|')})/` },
    to: { path: `^src/(${above.join('|')})/` },
  })),
);

module.exports = {
  forbidden: [
    ...upward,
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'meet-through-index',
      comment: 'A module is used through its index.ts. base and generated are collections, not modules.',
      severity: 'error',
      from: { path: '^src/([^/]+)/' },
      to: { path: '^src/(?!base/|generated/)[^/]+/', pathNot: ['^src/$1/', '^src/[^/]+/index\\.ts$'] },
    },
    {
      name: 'programs-use-index',
      severity: 'error',
      from: { path: '^src/[^/]+\\.ts$' },
      to: { path: '^src/(?!base/|generated/)[^/]+/', pathNot: ['^src/[^/]+/index\\.ts$'] },
    },
    {
      name: 'mechanisms-know-no-cri',
      severity: 'error',
      from: { path: '^src/(snapshotter|content|registry|task|network|store|linux|base|images|pods|containers)/' },
      to: { path: '^src/generated/' },
    },
    {
      name: 'config-is-for-programs',
      comment: 'Modules get the values they need through their constructor.',
      severity: 'error',
      from: { path: '^src/(?!config/|cli/|daemon/)[^/]+/' },
      to: { path: '^src/config/' },
    },
  ],
  options: {
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.d.ts'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types'],
    },
  },
};
