"""Teachers and starting weights of students: recipes, their training, their logits."""
