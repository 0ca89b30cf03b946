// The circuits of the lecture, and a few that show more.

export const EXAMPLES = [
  { name: "The first circuit", graph: "q = x + y\nf = q * z", inputs: { x: "-2", y: "5", z: "-4" } },
  {
    name: "Add, multiply, max",
    graph: "f = 2 * (x * y + max(z, w))",
    inputs: { x: "3", y: "-4", z: "2", w: "-1" },
  },
  {
    name: "A neuron, gate by gate",
    graph: "f = reciprocal(exp(-1 * (w0 * x0 + w1 * x1 + w2)) + 1)",
    inputs: { w0: "2", x0: "-1", w1: "-3", x1: "-2", w2: "-3" },
  },
  {
    name: "A neuron with a sigmoid gate",
    graph: "f = sigmoid(w0 * x0 + w1 * x1 + w2)",
    inputs: { w0: "2", x0: "-1", w1: "-3", x1: "-2", w2: "-3" },
  },
  { name: "One value, two ways", graph: "f = x * x", inputs: { x: "3" } },
  { name: "Branches that add up", graph: "b = a + a\nc = b + b", inputs: { a: "3" } },
  {
    name: "A long expression",
    graph: "f = (x + sigmoid(y)) / (sigmoid(x) + (x + y)**2)",
    inputs: { x: "3", y: "-4" },
  },
  {
    name: "Matrix and vector",
    graph: "q = W @ x\nf = sum(q**2)",
    inputs: { W: "[[0.1, 0.5], [-0.3, 0.8]]", x: "[0.2, 0.4]" },
  },
  {
    name: "A bowl to descend into",
    graph: "f = (x - 3)**2 + x * y + (y + 4)**2 - 3",
    inputs: { x: "2", y: "3" },
  },
  {
    name: "Rosenbrock's valley",
    graph: "f = (1 - x)**2 + 100 * (y - x**2)**2",
    inputs: { x: "-1", y: "2" },
    rate: "0.001",
  },
  {
    name: "A line through points",
    graph: "p = slope * x + start\nloss = mean((p - y)**2)",
    inputs: { slope: "0", x: "[0, 1, 2, 3, 4]", start: "0", y: "[1.1, 2.9, 5.2, 7.1, 8.8]" },
    rate: "0.05",
    moved: ["slope", "start"],
  },
  {
    name: "Two layers and a loss",
    graph: "h = tanh(x @ w1)\np = h @ w2\nloss = mean((p - y)**2)",
    inputs: {
      x: "[[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]",
      w1: "[[0.5, -0.6, 0.3, 0.9], [0.7, 0.4, -0.8, -0.5], [-0.2, 0.1, 0.6, -0.3]]",
      w2: "[[0.4], [-0.7], [0.5], [0.2]]",
      y: "[[0], [1], [1], [0]]",
    },
    rate: "0.3",
    moved: ["w1", "w2"],
  },
  { name: "Where a NaN comes up", graph: "f = log(x) * y", inputs: { x: "-1", y: "2" } },
];
